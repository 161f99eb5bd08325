"""What the sandbox does with test mail: the part before the @, up to a +, names the scenario."""

from dataclasses import dataclass

from contracts.router.v1.events_pb2 import DeliveryAssigned
from mail import verp
from mail.address import user_of


@dataclass(frozen=True, slots=True)
class SandboxScenario:
    """reply: to end of data. hangs: at RCPT, then closed. cuts_connection: after end of data,
    without a reply.

    complains: a complaint follows.
    """

    reply: str = "250 2.0.0 Ok: captured by the sandbox"
    hangs: bool = False
    cuts_connection: bool = False
    complains: bool = False


ACCEPT = SandboxScenario()
SCENARIOS = {
    "bounced": SandboxScenario("550 5.1.1 <{recipient}>: no such user here (simulated)"),
    "complained": SandboxScenario(complains=True),
    "timeout": SandboxScenario(hangs=True),
}
DELAYED = SandboxScenario("451 4.3.2 <{recipient}>: come again later (simulated)")
AMBIGUOUS = SandboxScenario("", cuts_connection=True)


def scenario_of(assignment: DeliveryAssigned) -> SandboxScenario:
    """What is played for a recipient. Two have an end: delayed@ and ambiguous@ go well at last."""
    user = user_of(assignment.context.recipient)
    if user == "delayed":
        return DELAYED if assignment.attempt == 1 else ACCEPT
    if user == "ambiguous":
        return ACCEPT if assignment.ambiguous else AMBIGUOUS
    return SCENARIOS.get(user, ACCEPT)


def message_id_of(return_path: str) -> str | None:
    """The message that a return path claims to be of. Who asks compares it with the journal's."""
    message_id = verp.parse_unverified(return_path)
    return str(message_id) if message_id else None
