"""One SMTP client at the return path: which addresses it may write to, and what its mail reports.

What is accepted is done with: before the 250, a report is in the journal and in the outbox, or in
the figures of its domain, and mail to people is in the API; other mail is counted and dropped.
Nothing is ever answered by mail (RFC 3834 §2, RFC 5321 §4.5.5).
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple
from uuid import UUID

from kernel import clock, metrics
from kernel.database import Database
from kernel.errors import Unavailable
from kernel.failpoint import failpoint
from kernel.health import DependencyHealth
from kernel.host_challenge import HostChallenges
from kernel.outbox import Outbox, OutboxEntry
from kernel.topics import encode
from mail import verp
from mail.address import Mailbox, canonical
from mail.smtp_server_events import Event, MessageReceived, RecipientGiven, SenderGiven
from services.delivery.api.return_path.domain_reports import DomainReportRecorder
from services.delivery.api.return_path.role_mail import RoleMailForwarder
from services.delivery.clients.mail_reader import MailReaderChild
from services.delivery.domain.return_path_challenge import challenge_in, reply_with
from services.delivery.domain.returned_mail import ReturnedMail, SentMessage, event_of
from services.delivery.store import reports

ACCEPTED = "250 2.0.0 Ok"
SENDER_OK = "250 2.1.0 Ok"
RECIPIENT_OK = "250 2.1.5 Ok"
UNKNOWN = "550 5.1.1 No such address here"
NO_FEEDBACK = "550 5.7.1 Only reports of complaints are accepted here"
TOO_LARGE = "552 5.3.4 The message is too large"
UNAVAILABLE = "451 4.3.0 Try again later"

logger = logging.getLogger(__name__)


class ReturnAddresses(NamedTuple):
    """Which addresses are ours. keys: of return paths, the current one and earlier ones. feedback:
    in lower case and A-labels; complaints arrive there, without a token in the address."""

    keys: tuple[bytes, ...]
    feedback: frozenset[str]

    def message_of(self, mailbox: Mailbox) -> UUID | None:
        return verp.parse_return_path(mailbox.local, keys=self.keys)

    def takes(self, mailbox: Mailbox) -> bool:
        address = canonical(mailbox).address.lower()
        return address in self.feedback or self.message_of(mailbox) is not None


@dataclass(frozen=True, slots=True)
class ReturnPathDependencies:
    """What the sessions share."""

    addresses: ReturnAddresses
    challenges: HostChallenges
    role_mail: RoleMailForwarder
    domain_reports: DomainReportRecorder
    reader: MailReaderChild[ReturnedMail]
    database: Database
    outbox: Outbox
    health: DependencyHealth


class ReturnPathSession:
    """client: its IP address."""

    hostname = ""

    def __init__(self, dependencies: ReturnPathDependencies, client: str) -> None:
        self._deps = dependencies
        self._client = client

    def respond_now(self, event: Event) -> str:
        """The reply to MAIL or RCPT. Senders other than <> write automatic replies."""
        if isinstance(event, SenderGiven):
            return SENDER_OK
        if isinstance(event, RecipientGiven):
            return self._reply_to_recipient(event.mailbox)
        return ""

    def _reply_to_recipient(self, mailbox: Mailbox) -> str:
        deps = self._deps
        if challenge := challenge_in(mailbox.local):
            return reply_with(deps.challenges.response_to(challenge))
        if any(one.takes(mailbox) for one in (deps.addresses, deps.role_mail, deps.domain_reports)):
            return RECIPIENT_OK
        return UNAVAILABLE if deps.role_mail.may_take(mailbox) else UNKNOWN

    async def respond(self, event: Event) -> str:
        """The reply to a message."""
        if not isinstance(event, MessageReceived):
            return UNAVAILABLE
        try:
            if all(map(self._deps.domain_reports.takes, event.recipients)):
                return await self._receive_domain_report(event)
            mail = await self._deps.reader.read(with_return_path(event))
            return await self._receive(mail, event)
        except (Unavailable, TimeoutError) as error:
            logger.warning("return_path.unavailable", extra={"error": repr(error)})
            return UNAVAILABLE
        except Exception:
            logger.exception("return_path.failed")
            return UNAVAILABLE

    def reserve(self, octets: int) -> str:
        """Connections and sizes bound the memory."""
        return ""

    def close(self) -> None:
        """Nothing is held."""

    async def _receive_domain_report(self, event: MessageReceived) -> str:
        """The reply. Another process reads it."""
        return (
            TOO_LARGE
            if event.is_cut
            else await self._deps.domain_reports.receive(event) or ACCEPTED
        )

    async def _receive(self, mail: ReturnedMail, event: MessageReceived) -> str:
        """The reply. A person who writes to a feedback address shall know that nobody reads it.
        Complaints that people get count too, if they prove their message."""
        others = (self._deps.role_mail, self._deps.domain_reports)
        is_whole = any(one.takes(box) for one in others for box in event.recipients)
        if is_whole and event.is_cut:
            return TOO_LARGE
        if problem := await self._deps.role_mail.receive(event, mail.trace, self._client):
            return problem
        if problem := await self._deps.domain_reports.receive(event):
            return problem
        named = {one for box in event.recipients if (one := self._deps.addresses.message_of(box))}
        ids = named or self._proved(mail)
        found = await self._record(mail, ids) if mail.is_report and ids else {}
        self._count(mail, found)
        return ACCEPTED if named or is_whole or mail.is_feedback else NO_FEEDBACK

    def _proved(self, mail: ReturnedMail) -> set[UUID]:
        """The message of a complaint to a feedback address, by the tokens inside it."""
        keys = self._deps.addresses.keys
        found = (verp.parse_token(token, keys=keys) for token in mail.tokens)
        return {one for one in found if one is not None}

    async def _record(self, mail: ReturnedMail, ids: set[UUID]) -> Mapping[str, SentMessage | str]:
        """Make the events of a report durable."""
        entry: OutboxEntry | None = None
        async with self._deps.database.transaction() as tx:
            found = await reports.record(tx, map(str, ids), mail.report)
            new = [one for one in found.values() if isinstance(one, SentMessage)]
            if new:
                now, at_ms = clock.now(), clock.now_ms()
                events = [encode(event_of(mail, one, at_ms=at_ms), now) for one in new]
                entry = await self._deps.outbox.add(tx, events)
                failpoint("delivery.return_path.recorded")
        if entry is not None:
            self._deps.outbox.publish_in_background(entry, self._deps.health)
            failpoint("delivery.return_path.committed")
        return found

    def _count(self, mail: ReturnedMail, found: Mapping[str, SentMessage | str]) -> None:
        results = [one if isinstance(one, str) else mail.kind for one in found.values()]
        for result in results or ["unattributed" if mail.is_report else mail.kind]:
            metrics.returned_mail.labels(result).inc()
        logger.info(
            "return_path.received",
            extra={
                "client": self._client,
                "kind": mail.kind,
                "report": mail.report if mail.is_report else "",
                "reporter": mail.reporter,
                "messages": dict(zip(found, results, strict=True)),
            },
        )


def with_return_path(event: MessageReceived) -> bytes:
    """The message as final delivery leaves it (RFC 5321 §4.4): <> as sender tells a report from
    what people write."""
    sender = event.sender.address if event.sender else ""
    return b"Return-Path: <%b>\r\n%b" % (sender.encode(), event.content)
