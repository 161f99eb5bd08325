"""Sandbox scenarios: the local part of the recipient, up to a +, selects one."""

from dataclasses import dataclass

from contracts.router.v1.events_pb2 import DeliveryAssigned
from mail import verp
from mail.address import user_without_detail


@dataclass(frozen=True, slots=True)
class SandboxScenario:
    """reply: to end of data. hangs: the sandbox does not reply to RCPT, and then disconnects.
    cuts_connection: it disconnects after end of data, without a reply. complains: a complaint
    follows the delivery.
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
DELAYED = SandboxScenario("451 4.3.2 <{recipient}>: try again later (simulated)")
AMBIGUOUS = SandboxScenario("", cuts_connection=True)


def scenario_of(assignment: DeliveryAssigned) -> SandboxScenario:
    """The scenario of an attempt. delayed@ and ambiguous@ are accepted at a later attempt."""
    user = user_without_detail(assignment.context.recipient)
    if user == "delayed":
        return DELAYED if assignment.attempt == 1 else ACCEPT
    if user == "ambiguous":
        return ACCEPT if assignment.ambiguous else AMBIGUOUS
    return SCENARIOS.get(user, ACCEPT)


def message_id_of(return_path: str) -> str | None:
    """The message id in a return path, unverified: the caller must compare it with the journal."""
    message_id = verp.parse_return_path_unverified(return_path)
    return str(message_id) if message_id else None
