"""Reconciles messages that stay open for long: compares ingest's messages with router's rows."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from google.protobuf.message import Message

from contracts.delivery.v1.delivery_service_pb2 import AttemptRecord
from contracts.delivery.v1.events_pb2 import ATTEMPT_OUTCOME_STALE, DeliveryAttempted
from contracts.ingest.v1.directory_pb2 import Tenant
from contracts.ingest.v1.events_pb2 import MessageContext
from contracts.router.v1 import router_service_pb2 as pb
from kernel import clock, metrics
from kernel.database import Database, Transaction
from kernel.health import DependencyHealth
from kernel.outbox import Outbox, OutboxEntry
from kernel.rpc import RpcError, RpcUnavailable
from kernel.table import ReplicatedTable
from kernel.topics import encode
from services.router.clients.journal import JournalClient
from services.router.domain.events import ClosedRow, message_closed, timestamp
from services.router.domain.expiry import expire
from services.router.domain.message import CLOSED, MessageRowState
from services.router.domain.new_messages import new_message
from services.router.domain.retry import RetryPolicy
from services.router.domain.transitions import attempt_policy_of, decide, event_for
from services.router.store import attempts, closings, requests, strikes
from services.router.store.requests import ReconcileRow

DONE = "done"


@dataclass(frozen=True, slots=True)
class Reconciler:
    database: Database
    outbox: Outbox
    journal: JournalClient
    tenants: ReplicatedTable[Tenant]
    retry: RetryPolicy
    health: DependencyHealth

    async def reconcile(
        self, contexts: Sequence[MessageContext], dropped_ids: Collection[str]
    ) -> pb.ReconcileResponse:
        """Publish closed messages again, and close expired ones. The response lists those that
        ingest is to republish, because they are unknown here or only expected, and the others
        with their expiry.

        dropped_ids: ids of messages whose day was dropped; they closed long ago.
        """
        ids = [context.message_id for context in contexts]
        async with self.database.transaction() as tx:
            found = await requests.load_to_reconcile(tx, ids)
        overdue_assigned = [
            a for a in found.values() if a.is_expired and a.row.state is MessageRowState.ASSIGNED
        ]
        journal = await self._query_journal(overdue_assigned)
        response = pb.ReconcileResponse()
        async with self.database.transaction() as tx:
            entry = await self._repair(
                tx,
                contexts,
                found=found,
                journal=journal,
                response=response,
                dropped_ids=dropped_ids,
            )
        self.outbox.publish_in_background(entry, self.health)
        return response

    async def _query_journal(
        self, overdue_assigned: Sequence[ReconcileRow]
    ) -> dict[str, AttemptRecord] | None:
        """The journal's records of these messages; None if delivery is unavailable."""
        if not overdue_assigned:
            return {}
        try:
            return await self.journal.get_attempts(
                [(a.row.message_id, a.row.attempt) for a in overdue_assigned]
            )
        except (RpcUnavailable, RpcError):
            return None

    async def _repair(
        self,
        tx: Transaction,
        contexts: Sequence[MessageContext],
        *,
        found: dict[str, ReconcileRow],
        journal: dict[str, AttemptRecord] | None,
        response: pb.ReconcileResponse,
        dropped_ids: Collection[str],
    ) -> OutboxEntry:
        now_s = await requests.read_database_now_s(tx)
        overdue, lost, dropped = [], [], []
        for context in contexts:
            stored = found.get(context.message_id)
            if stored is None and context.message_id in dropped_ids:
                serialized = context.SerializeToString()
                dropped.append(ClosedRow.expired(context.message_id, serialized, closed_s=now_s))
            elif stored is None and now_s < new_message(context, MessageRowState.FAILED).expires_s:
                response.republish_ids.append(context.message_id)
            elif stored is None:
                lost.append(context)
            elif stored.row.state in CLOSED:
                response.closed_ids.append(context.message_id)
            elif stored.is_expired:
                overdue.append(stored)
            elif stored.row.state is MessageRowState.EXPECTED:
                response.republish_ids.append(context.message_id)
            else:
                response.known.append(known_message(stored))
        events: list[Message] = [
            message_closed(one) for one in await closings.load_closed(tx, list(response.closed_ids))
        ]
        events += [message_closed(one) for one in dropped]
        events += await self._close_lost(tx, lost)
        events += await self._close_overdue(tx, overdue, journal=journal, response=response)
        count_repairs(response)
        now = clock.now()
        return await self.outbox.add(tx, [encode(event, now) for event in events])

    @staticmethod
    async def _close_lost(tx: Transaction, lost: Sequence[MessageContext]) -> list[Message]:
        """Close expired messages that router never received."""
        new_messages = [new_message(context, MessageRowState.FAILED) for context in lost]
        return [message_closed(one) for one in await requests.insert_failed(tx, new_messages)]

    async def _close_overdue(
        self,
        tx: Transaction,
        overdue: Sequence[ReconcileRow],
        *,
        journal: dict[str, AttemptRecord] | None,
        response: pb.ReconcileResponse,
    ) -> list[Message]:
        """Close expired messages; assigned ones by the journal's record."""
        idle = [a.row for a in overdue if a.row.state is not MessageRowState.ASSIGNED]
        closed_messages = await closings.close(tx, [expire(row) for row in idle])
        attempted = []
        for stored in (a for a in overdue if a.row.state is MessageRowState.ASSIGNED):
            outcome = attempt_result_of(stored, journal)
            if outcome is None:
                response.known.append(known_message(stored))
            else:
                attempted.append(outcome)
        return [
            *(message_closed(one) for one in closed_messages),
            *await self._apply_attempts(tx, attempted),
        ]

    async def _apply_attempts(
        self, tx: Transaction, attempted: Sequence[DeliveryAttempted]
    ) -> list[Message]:
        if not attempted:
            return []
        loaded = await attempts.load_assigned(tx, attempted)
        transitions = [
            decide(
                event,
                row,
                now_s=loaded.now_s,
                policy=attempt_policy_of(self.tenants.get(event.tenant_id), self.retry),
            )
            for event in attempted
            if (row := loaded.rows.get(event.message_id))
        ]
        applied = [
            (transition, event_for(transition, row))
            for transition, row in await attempts.apply_transitions(tx, transitions)
        ]
        changes = await strikes.record_transitions(tx, applied)
        return [*(event for _, event in applied if event), *changes]


def attempt_result_of(
    stored: ReconcileRow, journal: dict[str, AttemptRecord] | None
) -> DeliveryAttempted | None:
    """The result of the attempt from the journal; None while it is not known.

    An attempt that the journal does not know never started, and by now would be stale. Its message
    is queued again, and closed because it has expired.
    """
    if journal is None:
        return None
    record = journal.get(stored.row.message_id)
    if record is None:
        row = stored.row
        return DeliveryAttempted(
            message_id=row.message_id, attempt=row.attempt, outcome=ATTEMPT_OUTCOME_STALE
        )
    return record.attempted if record.stage == DONE else None


def known_message(stored: ReconcileRow) -> pb.KnownMessage:
    until_s = max(stored.expires_s, stored.now_s)
    return pb.KnownMessage(message_id=stored.row.message_id, expires_at=timestamp(until_s))


def count_repairs(response: pb.ReconcileResponse) -> None:
    for action, number in (
        ("republish", len(response.republish_ids)),
        ("closed", len(response.closed_ids)),
    ):
        metrics.audit_repairs.labels(action).inc(number)
