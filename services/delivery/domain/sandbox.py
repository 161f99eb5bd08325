"""What the sandbox does with test mail: the part before the @, up to a +, names the scene."""

from dataclasses import dataclass

from contracts.router.v1.events_pb2 import DeliveryAssigned
from mail import verp
from mail.address import user_of


@dataclass(frozen=True, slots=True)
class Scene:
    """answer: to the dot. hangs: at RCPT, and is closed. cut: after the dot, without an answer.

    complains: a complaint follows.
    """

    answer: str = "250 2.0.0 Ok: captured by the sandbox"
    hangs: bool = False
    cut: bool = False
    complains: bool = False


TAKEN = Scene()
SCENES = {
    "bounced": Scene("550 5.1.1 <{recipient}>: no such user here (simulated)"),
    "complained": Scene(complains=True),
    "timeout": Scene(hangs=True),
}
DELAYED = Scene("451 4.3.2 <{recipient}>: come again later (simulated)")
AMBIGUOUS = Scene("", cut=True)


def scene_of(assignment: DeliveryAssigned) -> Scene:
    """What is played for a recipient. Two have an end: delayed@ and ambiguous@ go well at last."""
    user = user_of(assignment.envelope.recipient)
    if user == "delayed":
        return DELAYED if assignment.attempt == 1 else TAKEN
    if user == "ambiguous":
        return TAKEN if assignment.ambiguous else AMBIGUOUS
    return SCENES.get(user, TAKEN)


def message_id_of(return_path: str) -> str | None:
    """The message that a return path claims to be of. Who asks compares it with the journal's."""
    message_id = verp.claimed(return_path)
    return str(message_id) if message_id else None
