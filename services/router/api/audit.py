"""The audit of messages that stay open for long: what ingest knows, compared with what is here."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from google.protobuf.message import Message

from contracts.delivery.v1.delivery_service_pb2 import AttemptRecord
from contracts.delivery.v1.events_pb2 import OUTCOME_STALE, DeliveryAttempted
from contracts.ingest.v1.directory_pb2 import Tenant
from contracts.ingest.v1.events_pb2 import Envelope
from contracts.router.v1 import router_service_pb2 as pb
from kernel import clock, metrics
from kernel.backoff import Health
from kernel.database import Database, Transaction
from kernel.outbox import Entry, Outbox
from kernel.rpc import Away, Refused
from kernel.table import Table
from kernel.topics import encode
from services.router.clients.journal import Journal
from services.router.domain.answer import policy_of, settle, told
from services.router.domain.arrival import arrival
from services.router.domain.expiry import expire
from services.router.domain.facts import Final, closed, timestamp
from services.router.domain.message import CLOSED, State
from services.router.domain.retry import RetryPolicy
from services.router.store import answers, closings, requests, suppressions
from services.router.store.requests import Audited

DONE = "done"


@dataclass(frozen=True, slots=True)
class Audit:
    engine: Database
    outbox: Outbox
    journal: Journal
    tenants: Table[Tenant]
    retry: RetryPolicy
    health: Health

    async def reconcile(
        self, envelopes: Sequence[Envelope], forgotten: Collection[str]
    ) -> pb.ReconcileResponse:
        """Unknown or only expected: to be told again. Closed: told again from here. Known: until
        when it may take. Out of time: closed from here.

        forgotten: ids of days of which nothing is kept; everything of theirs is long closed.
        """
        ids = [envelope.message_id for envelope in envelopes]
        async with self.engine.transaction() as tx:
            found = await requests.audit(tx, ids)
        late = [a for a in found.values() if a.expired and a.row.state is State.ASSIGNED]
        journal = await self._ask(late)
        response = pb.ReconcileResponse()
        async with self.engine.transaction() as tx:
            entry = await self._repair(
                tx,
                envelopes,
                found=found,
                journal=journal,
                response=response,
                forgotten=forgotten,
            )
        self.outbox.publish_soon(entry, self.health)
        return response

    async def _ask(self, late: Sequence[Audited]) -> dict[str, AttemptRecord] | None:
        """What the journal knows of them; None when delivery is away."""
        if not late:
            return {}
        try:
            return await self.journal.attempts([(a.row.message_id, a.row.attempt) for a in late])
        except (Away, Refused):
            return None

    async def _repair(
        self,
        tx: Transaction,
        envelopes: Sequence[Envelope],
        *,
        found: dict[str, Audited],
        journal: dict[str, AttemptRecord] | None,
        response: pb.ReconcileResponse,
        forgotten: Collection[str],
    ) -> Entry:
        now_s = await requests.now_s(tx)
        overdue, lost, gone = [], [], []
        for envelope in envelopes:
            audited = found.get(envelope.message_id)
            if audited is None and envelope.message_id in forgotten:
                whole = envelope.SerializeToString()
                gone.append(Final.expired(envelope.message_id, whole, closed_s=now_s))
            elif audited is None and now_s < arrival(envelope, State.FAILED).expires_s:
                response.tell_again.append(envelope.message_id)
            elif audited is None:
                lost.append(envelope)
            elif audited.row.state in CLOSED:
                response.closed.append(envelope.message_id)
            elif audited.expired:
                overdue.append(audited)
            elif audited.row.state is State.EXPECTED:
                response.tell_again.append(envelope.message_id)
            else:
                response.known.append(known(audited))
        events: list[Message] = [
            closed(final) for final in await closings.final(tx, list(response.closed))
        ]
        events += [closed(final) for final in gone]
        events += await self._close_lost(tx, lost)
        events += await self._close_overdue(tx, overdue, journal=journal, response=response)
        count(response)
        now = clock.now()
        return await self.outbox.add(tx, [encode(event, now) for event in events])

    @staticmethod
    async def _close_lost(tx: Transaction, lost: Sequence[Envelope]) -> list[Message]:
        """Never came here, and now nobody may send them."""
        arrivals = [arrival(envelope, State.FAILED) for envelope in lost]
        return [closed(final) for final in await requests.insert_failed(tx, arrivals)]

    async def _close_overdue(
        self,
        tx: Transaction,
        overdue: Sequence[Audited],
        *,
        journal: dict[str, AttemptRecord] | None,
        response: pb.ReconcileResponse,
    ) -> list[Message]:
        """Nobody is sending: out of time. Assigned: by what the journal says came of it."""
        idle = [a.row for a in overdue if a.row.state is not State.ASSIGNED]
        finals = await closings.close(tx, [expire(row) for row in idle])
        attempted = []
        for audited in (a for a in overdue if a.row.state is State.ASSIGNED):
            outcome = outcome_of(audited, journal)
            if outcome is None:
                response.known.append(known(audited))
            else:
                attempted.append(outcome)
        return [*(closed(final) for final in finals), *await self._settle(tx, attempted)]

    async def _settle(
        self, tx: Transaction, attempted: Sequence[DeliveryAttempted]
    ) -> list[Message]:
        if not attempted:
            return []
        loaded = await answers.load(tx, attempted)
        moves = [
            settle(
                event,
                row,
                now_s=loaded.now_s,
                policy=policy_of(self.tenants.get(event.tenant_id), self.retry),
            )
            for event in attempted
            if (row := loaded.rows.get(event.message_id))
        ]
        moved = [(move, told(move, row)) for move, row in await answers.save(tx, moves)]
        await suppressions.count_moves(tx, moved)
        return [event for _, event in moved if event]


def outcome_of(
    audited: Audited, journal: dict[str, AttemptRecord] | None
) -> DeliveryAttempted | None:
    """What the journal has recorded. What it does not know never began, and by now would be stale:
    the message waits again, and is closed because it is out of time. None: not known yet."""
    if journal is None:
        return None
    record = journal.get(audited.row.message_id)
    if record is None:
        row = audited.row
        return DeliveryAttempted(
            message_id=row.message_id, attempt=row.attempt, outcome=OUTCOME_STALE
        )
    return record.attempted if record.stage == DONE else None


def known(audited: Audited) -> pb.Known:
    until_s = max(audited.expires_s, audited.now_s)
    return pb.Known(message_id=audited.row.message_id, expires_at=timestamp(until_s))


def count(response: pb.ReconcileResponse) -> None:
    for repair, number in (
        ("tell_again", len(response.tell_again)),
        ("closed", len(response.closed)),
    ):
        metrics.reconciled.labels(repair).inc(number)
