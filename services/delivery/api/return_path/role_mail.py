"""Mail to postmaster and abuse at the hosts of return paths (RFC 2142, RFC 5321 §4.5.1)."""

import asyncio
import logging
from dataclasses import dataclass

from kernel import clock, metrics
from kernel.failpoint import failpoint
from mail.address import Mailbox, canonical
from mail.forwarding import Forward, Trace, is_loop
from mail.smtp_server_events import MessageReceived
from services.delivery.clients.operator_mail import OperatorForwarder
from services.delivery.domain.hourly_allowance import HourlyAllowance
from services.delivery.domain.return_path_hosts import ReturnPathHosts

POSTMASTER, ABUSE = "postmaster", "abuse"
FORWARD_S = 30.0
LOOP = "554 5.4.6 The mail has been here before"
UNREADABLE = "554 5.6.0 The mail cannot be read"
TOO_MUCH = "451 4.7.0 Too much mail to people, try again later"
UNAVAILABLE = "451 4.3.0 Try again later"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class RoleMailForwarder:
    """operator: None if the operator named no address. directory_read: set once hosts has all."""

    hosts: ReturnPathHosts
    directory_read: asyncio.Event
    operator: OperatorForwarder | None
    allowance: HourlyAllowance

    def takes(self, mailbox: Mailbox) -> bool:
        """postmaster always has an address (RFC 5321 §4.5.1). A complaint to abuse that nobody
        reads must not seem to have arrived."""
        name = mailbox.local.lower()
        known = name == POSTMASTER or (name == ABUSE and self.operator is not None)
        return known and canonical(mailbox).domain.lower() in self.hosts

    def may_take(self, mailbox: Mailbox) -> bool:
        """Whether a host that is not known yet may become known."""
        role = mailbox.local.lower() in {POSTMASTER, ABUSE}
        return role and not self.directory_read.is_set()

    async def receive(self, event: MessageReceived, trace: Trace | None, client: str) -> str:
        """Why mail to people cannot be taken; empty if there is none, or it is taken. trace: None
        if the mail cannot be read."""
        given_to = tuple(sorted({_text(one) for one in event.recipients if self.takes(one)}))
        if not given_to:
            return ""
        if trace is None:
            return UNREADABLE
        if is_loop(trace, given_to):
            return _counted("loop", LOOP)
        if self.operator is None:
            logger.warning("return_path.no_operator", extra={"client": client, "to": given_to})
            return _counted("postmaster", "")
        if not self.allowance.take(clock.monotonic_s()):
            return _counted("limited", TOO_MUCH)
        mail = Forward(event.content, given_to, event.sender, client, trace.subject)
        return await _forward(self.operator, mail)


async def _forward(operator: OperatorForwarder, mail: Forward) -> str:
    try:
        async with asyncio.timeout(FORWARD_S):
            await operator.send(mail)
    except (OSError, ValueError, TimeoutError) as error:
        logger.warning("return_path.not_forwarded", extra={"error": repr(error)[:300]})
        return UNAVAILABLE
    failpoint("delivery.return_path.forwarded")
    return _counted("forwarded", "")


def _text(mailbox: Mailbox) -> str:
    return canonical(mailbox).address.lower()


def _counted(result: str, reply: str) -> str:
    metrics.returned_mail.labels(result).inc()
    return reply
