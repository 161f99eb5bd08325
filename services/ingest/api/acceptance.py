"""Accept: content on disk, then one transaction for everybody who came meanwhile, then 202."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import NamedTuple

from contracts.ingest.v1.events_pb2 import MessageAccepted
from contracts.kernel.v1.outbox_pb2 import Outgoing
from kernel import clock, metrics
from kernel.backoff import Health
from kernel.content import Body, ContentStore
from kernel.crypto import seal
from kernel.errors import Unavailable
from kernel.failpoint import failpoint
from kernel.group import Group
from kernel.ids import uuid7_text
from kernel.outbox import RECORD_BYTES, Outbox
from kernel.pace import Pace
from kernel.telemetry import told
from kernel.topics import encode
from services.ingest.api.gate import Caller, Gate
from services.ingest.api.idempotency import Answer, Idempotency, concurrent, replay
from services.ingest.domain import event
from services.ingest.domain.draft import Draft, Recipient
from services.ingest.domain.problem import Problem, unavailable
from services.ingest.domain.schedule import AHEAD_MAX
from services.ingest.domain.volume import Volume
from services.ingest.store.acceptance import (
    AcceptanceStore,
    EmailRow,
    KeyName,
    KeyRow,
    KeyTaken,
    MessageRow,
    Write,
)
from services.ingest.store.room import Room

ALONE_BYTES = 256 * 1024  # a body larger than this does not slow down its neighbours
GROUP_BYTES_MAX = 8 * 1024 * 1024
GROUP_ITEMS_MAX = 200
# Fewer requests in a second wait for nobody, and no group for longer: someone waits for its answer.
BUSY_PER_S = 300.0
GAP_MAX_S = 0.024
# Who comes while one group is on its way goes on by itself, instead of waiting for it first.
LANES = 2

logger = logging.getLogger(__name__)
count = metrics.accepted.labels("api").inc


@dataclass(frozen=True, slots=True)
class Lifetimes:
    """message: from when it is due. margin: bodies outlive their messages by this."""

    message: timedelta
    margin: timedelta

    def kept(self, accepted: datetime, *, scheduled: bool) -> tuple[str, date]:
        """The class of a body and its last day; what is scheduled may be put off once more."""
        until = accepted + self.message + self.margin + (AHEAD_MAX if scheduled else timedelta())
        return ("scheduled" if scheduled else "now"), until.date()


class Prepared(NamedTuple):
    """An email ready to be written: sealed, with its ids."""

    body: Body
    first: MessageAccepted
    recipients: Sequence[tuple[str, Recipient]]
    scheduled_at: datetime | None

    @property
    def email_id(self) -> str:
        return self.first.envelope.email_id

    @property
    def size(self) -> int:
        """Octets that are written: the body once, the event for each recipient."""
        return len(self.body.sealed) + len(self.recipients) * (RECORD_BYTES + self.first.ByteSize())


class Submission(NamedTuple):
    """What one request wants written."""

    emails: Sequence[Prepared]
    response: bytes
    traceparent: str
    key: KeyRow | None


Respond = Callable[[Sequence[Prepared]], bytes]


class Acceptance:
    """The one way in, behind every door. Group commit by arrival."""

    def __init__(  # noqa: PLR0913 - what accepting consists of
        self,
        *,
        gate: Gate,
        store: AcceptanceStore,
        content: ContentStore,
        outbox: Outbox,
        room: Room,
        kafka: Health,
        volume: Volume,
        lifetimes: Lifetimes,
        return_path_key: bytes,
    ) -> None:
        self._gate = gate
        self._store = store
        self._content = content
        self._outbox = outbox
        self._room = room
        self._kafka = kafka
        self._volume = volume
        self._lifetimes = lifetimes
        self._return_path_key = return_path_key
        self._in_flight: set[KeyName] = set()
        self._pace = Pace(GAP_MAX_S, busy_per_s=BUSY_PER_S)
        self._lanes: list[Group[Submission, Answer | Problem]] = [
            Group(
                self._commit,
                items_max=GROUP_ITEMS_MAX,
                bytes_max=GROUP_BYTES_MAX,
                alone_bytes=ALONE_BYTES,
            )
            for _ in range(LANES)
        ]

    async def accept(
        self,
        caller: Caller,
        drafts: Sequence[Draft],
        *,
        respond: Respond,
        traceparent: str,
        idempotency: Idempotency | None,
        before: Callable[[], Awaitable[None]] | None = None,
    ) -> Answer:
        """Return when the emails are durable. Raises Problem, and then nothing was accepted.

        before: work that completes the drafts, for a request that is no repeat.
        """
        self._room.check(caller.tenant_id)
        if idempotency is None:
            if before is not None:
                await before()
            return await self._submit(caller, drafts, respond=respond, traceparent=traceparent)
        name = KeyName(caller.tenant_id, caller.test, idempotency.route, idempotency.key)
        if name in self._in_flight:
            raise concurrent()
        self._in_flight.add(name)
        try:
            if before is not None:
                if known := await self._repeated(KeyRow(name, idempotency.fingerprint, b"")):
                    return known
                await before()
            return await self._submit(
                caller,
                drafts,
                respond=respond,
                traceparent=traceparent,
                key=KeyRow(name, idempotency.fingerprint, b""),
            )
        finally:
            self._in_flight.discard(name)

    async def _repeated(self, key: KeyRow) -> Answer | None:
        """The answer to what was asked before. Raises Problem."""
        try:
            found = (await self._store.find([key.name])).get(key.name)
        except Unavailable as error:
            raise unavailable(f"{error} is away: nothing was accepted") from error
        answer = replay(key, found) if found is not None else None
        if isinstance(answer, Problem):
            raise answer
        return answer

    async def idle(self) -> None:
        await self._pace.turn()
        for lane in self._lanes:
            await lane.idle()
        await self._room.settle()

    async def _submit(
        self,
        caller: Caller,
        drafts: Sequence[Draft],
        *,
        respond: Respond,
        traceparent: str,
        key: KeyRow | None = None,
    ) -> Answer:
        await self._pace.turn()  # before the work: done for one after the other, it costs less
        emails: list[Prepared] = []
        for draft in drafts:
            if emails:
                await asyncio.sleep(0)  # a batch is long work: others have their turn
            emails.append(await self._prepare(caller, draft, traceparent))
        response = respond(emails)
        if key is not None:
            key = KeyRow(key.name, key.fingerprint, response)
        submission = Submission(emails, response, traceparent, key)
        size = sum([email.size for email in emails])
        try:
            answer = await self._lane().submit(submission, size=size)
        except Unavailable as error:
            raise unavailable(f"{error} is away: nothing was accepted") from error
        except KeyTaken:
            raise concurrent() from None
        if isinstance(answer, Problem):
            raise answer
        return answer

    def _lane(self) -> Group[Submission, Answer | Problem]:
        """Where others wait already, so that groups are large; else an idle one."""
        loads = {lane.load: lane for lane in reversed(self._lanes)}
        crowded = max(loads)
        return loads[crowded] if crowded > 1 else loads[min(loads)]

    async def _prepare(self, caller: Caller, draft: Draft, traceparent: str) -> Prepared:
        domain = await self._gate.domain_of(caller, draft.sender.domain)
        now = clock.now()
        email_id = uuid7_text()
        message_ids = [uuid7_text() for _ in draft.recipients]
        due = draft.due_at or now
        origin = event.Origin(
            caller.key,
            domain.domain_id,
            domain.return_path_host,
            self._return_path_key,
            traceparent,
        )
        message_class = self._volume.classify(
            caller.tenant_id, draft.stream, messages=len(message_ids), now_s=clock.monotonic_s()
        )
        first = event.accepted(
            draft,
            event.Ids(email_id, message_ids),
            origin,
            message_class=message_class,
            times=event.Times(now, due, due + self._lifetimes.message),
        )
        sealed = await self._seal(caller, draft, email_id=email_id, now=now)
        kept, until = self._lifetimes.kept(now, scheduled=draft.due_at is not None)
        recipients = list(zip(message_ids, draft.recipients, strict=True))
        return Prepared(Body(sealed, kept, until), first, recipients, draft.due_at)

    async def _seal(self, caller: Caller, draft: Draft, *, email_id: str, now: datetime) -> bytes:
        content = draft.content
        content.email_id = email_id
        content.date_s = int(now.timestamp())
        key = self._gate.content_key(caller)
        associated = f"{caller.tenant_id}/{email_id}".encode()
        plain = content.SerializeToString()
        if len(plain) > ALONE_BYTES:
            return await asyncio.to_thread(seal, key, plain, associated)
        return seal(key, plain, associated)

    async def _commit(self, group: Sequence[Submission]) -> list[Answer | Problem]:
        self._pace.began(len(group))
        known = await self._known(group)
        answers = [known.get(index) for index in range(len(group))]
        fresh = [one for one, answer in zip(group, answers, strict=True) if answer is None]
        if fresh:
            await self._write(fresh)
        return [answer or Answer(one.response) for one, answer in zip(group, answers, strict=True)]

    async def _known(self, group: Sequence[Submission]) -> dict[int, Answer | Problem]:
        """What was asked before, by its place in the group."""
        keyed = {index: one.key for index, one in enumerate(group) if one.key is not None}
        if not keyed:
            return {}
        found = await self._store.find([row.name for row in keyed.values()])
        return {
            index: replay(row, found[row.name]) for index, row in keyed.items() if row.name in found
        }

    async def _write(self, group: Sequence[Submission]) -> None:
        emails = [email for one in group for email in one.emails]
        references = await self._content.put_many([email.body for email in emails])
        for email, reference in zip(emails, references, strict=True):
            email.first.envelope.content_ref = reference
            email.first.envelope.content_bytes = len(email.body.sealed)
        failpoint("ingest.content_synced")
        records = (record for one in group for record in self._records(one))
        rows = [_email_row(email) for email in emails]
        keys = [one.key for one in group if one.key is not None]
        entry = await self._store.write(Write(keys, rows, records))
        failpoint("ingest.accept.committed")
        self._outbox.publish_soon(entry, self._kafka)
        messages = sum([len(email.recipients) for email in emails])
        count(messages)
        for email in emails:
            self._room.took(email.first.envelope.tenant_id, email.body)
        ids = [email.email_id for email in emails]
        logger.info("emails.accepted", extra={"emails": ids, "messages": messages})

    def _records(self, one: Submission) -> Iterable[Outgoing]:
        """Its events, in the trace of its request."""
        now = clock.now()
        for email in one.emails:
            accepted_at = email.first.envelope.accepted_at
            began_ns = accepted_at.seconds * 1_000_000_000 + accepted_at.nanos
            trace = told("ingest.accepted", one.traceparent.encode(), began_ns=began_ns)
            messages = event.for_recipients(email.first, email.recipients, self._return_path_key)
            for message in messages:
                yield encode(message, now, trace)


def _email_row(email: Prepared) -> EmailRow:
    return EmailRow(
        email_id=email.email_id,
        tenant_id=email.first.envelope.tenant_id,
        accepted=email.first.SerializeToString(),
        scheduled_at=email.scheduled_at,
        messages=list(_message_rows(email)),
    )


def _message_rows(email: Prepared) -> Iterable[MessageRow]:
    for message_id, recipient in email.recipients:
        yield MessageRow(message_id, recipient.address, recipient.type)
