"""Consumers of events: load, decide, save, return results."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from google.protobuf.message import Message

from contracts.delivery.v1.events_pb2 import BounceReceived, ComplaintReceived, DeliveryAttempted
from contracts.events.v1.events_pb2 import RecipientUnsubscribed
from contracts.ingest.v1.directory_pb2 import Tenant
from contracts.router.v1.events_pb2 import (
    CampaignsCounted,
    MessageClosed,
    MessageDelayed,
    SuppressionChanged,
)
from contracts.router.v1.policies_pb2 import PolicyCommand
from contracts.router.v1.results_pb2 import Results
from contracts.shield.v1.events_pb2 import MessageScreened
from contracts.shield.v1.learning_pb2 import CampaignAssessed
from kernel import metrics, tenant_accounts
from kernel.database import Transaction
from kernel.handler_result import Drop, Emit, HandlerResult
from kernel.redaction import ERASED
from kernel.table import ReplicatedTable
from kernel.topics import event_id
from services.router.domain.campaigns import count_attempts, count_report
from services.router.domain.held import screening_of
from services.router.domain.message import UNRESOLVED, MessageRowState
from services.router.domain.new_messages import (
    NewMessage,
    closed_at_once,
    screened_message,
)
from services.router.domain.results import result_of_report
from services.router.domain.retry import RetryPolicy
from services.router.domain.suppressions import COMPLAINT, UNSUBSCRIBE, address_hash
from services.router.domain.transitions import (
    DUE_NOW_S,
    Strike,
    Transition,
    attempt_policy_of,
    decide,
    decide_from_event,
    event_for,
    strike_of,
)
from services.router.store import attempts, erasure, held, results, strikes
from services.router.store.day_partitions import DayPartitions
from services.router.store.new_messages import insert_messages
from services.router.store.notify import SchedulerNotifier

Report: TypeAlias = BounceReceived | ComplaintReceived | RecipientUnsubscribed


async def on_tenant(batch: Sequence[Tenant], tx: Transaction) -> list[HandlerResult]:
    """Record the account of a tenant."""
    accounts = ((one.tenant_id, one.account_id) for one in batch)
    await tenant_accounts.record_accounts(tx, "router", accounts)
    return [Emit() for _ in batch]


@dataclass(frozen=True, slots=True)
class Handlers:
    """site_of: the known site of a domain. notifier: wakes the scheduler when there is work."""

    tenants: ReplicatedTable[Tenant]
    site_of: Callable[[str], str | None]
    retry: RetryPolicy
    partitions: DayPartitions
    notifier: SchedulerNotifier

    async def on_screened(
        self, batch: Sequence[MessageScreened], tx: Transaction
    ) -> list[HandlerResult]:
        """Queue a screened message, hold it for review, or fail it."""
        new_messages = [screened_message(event, self.site_of) for event in batch]
        dropped = await self.partitions.create_missing_days(
            tx, [a.message_id for a in new_messages]
        )
        fresh = [a for a in new_messages if a.message_id not in dropped]
        cell_of = self.notifier.directory.cell_of
        inserted = await insert_messages(tx, fresh, cell_of) if fresh else {}
        if inserted:
            unresolved = any(a.site == UNRESOLVED for a in fresh)
            cells = self.notifier.cells_of(a.tenant_id for a in fresh)
            await self.notifier.notify(tx, cells, unresolved=unresolved)
            held_ids = {
                a.message_id for a in fresh if a.state is MessageRowState.HELD
            } & inserted.keys()
            await save_why(tx, batch, held_ids)
        return [self._result(a, inserted, dropped) for a in new_messages]

    @staticmethod
    def _result(
        message: NewMessage, inserted: dict[str, float], dropped: set[str]
    ) -> HandlerResult:
        if message.message_id in dropped:
            return Drop("day_dropped")
        if message.message_id not in inserted:
            return Drop("repeat")
        if message.state is not MessageRowState.FAILED:
            return Emit()
        metrics.closed.labels(message.state).inc()
        return Emit(closed_at_once(message, inserted[message.message_id]))

    async def on_attempted(
        self, batch: Sequence[DeliveryAttempted], tx: Transaction
    ) -> list[HandlerResult]:
        """Apply attempt results to their assigned rows; other results change nothing."""
        applied = await attempts.apply_transitions(tx, await self._transitions(batch, tx))
        events = {
            transition.event.message_id: event_for(transition, row) for transition, row in applied
        }
        changes = by_source(
            await strikes.record_transitions(
                tx, [(transition, events[row.message_id]) for transition, row in applied]
            )
        )
        for counted in count_attempts(transition.event for transition, _ in applied):
            changes.setdefault(applied[0][1].message_id, []).append(counted)
        due_now = {
            row.cell
            for transition, row in applied
            if transition.state is MessageRowState.QUEUED and transition.due_s == DUE_NOW_S
        }
        await self.notifier.notify(tx, due_now)
        await self.notifier.notify_results(tx, {row.cell for _, row in applied})
        states = {(row.message_id, row.attempt): transition.state for transition, row in applied}
        return [
            result_of(
                states.get((event.message_id, event.attempt)),
                events.get(event.message_id),
                changes.get(event.message_id, ()),
            )
            for event in batch
        ]

    async def on_assessed(
        self, batch: Sequence[CampaignAssessed], tx: Transaction
    ) -> list[HandlerResult]:
        """Tell the schedulers how campaigns were judged. Repeats change nothing there."""
        commands = [PolicyCommand(assess_campaign=event) for event in batch if event.enforced]
        if commands:
            await results.append_to_all(tx, Results(commands=commands))
            await self.notifier.notify(tx, self.notifier.directory.names)
        return [Emit() for _ in batch]

    async def _transitions(
        self, batch: Sequence[DeliveryAttempted], tx: Transaction
    ) -> list[Transition]:
        """Most results decide the transition alone; for the others, the attempt count and expiry of
        the row are loaded."""
        decided = [decide_from_event(event) for event in batch]
        undecided = [
            event for event, transition in zip(batch, decided, strict=True) if transition is None
        ]
        transitions = [transition for transition in decided if transition]
        if undecided:
            loaded = await attempts.load_assigned(tx, undecided)
            transitions += [
                decide(
                    event,
                    row,
                    now_s=loaded.now_s,
                    policy=attempt_policy_of(self.tenants.get(event.tenant_id), self.retry),
                )
                for event in undecided
                if (row := loaded.rows.get(event.message_id)) and row.attempt == event.attempt
            ]
        return transitions

    async def on_report(self, batch: Sequence[Report], tx: Transaction) -> list[HandlerResult]:
        """Count each bounce and complaint that arrives as mail, and each unsubscribe, once; ignore
        test mail."""
        erased = await erasure.hashes_of(tx, [one.message_id for one in batch if is_erased(one)])
        found = {
            event_id(event): (event, strike)
            for event in batch
            if (strike := strike_from_report(event, erased))
        }
        recorded = await strikes.record(
            tx, [strike for _, strike in found.values()], events=list(found)
        )
        counted = [pair for one, pair in found.items() if one in recorded.counted]
        changes = by_source(recorded.changes)
        for one in await self._append_feedback(tx, counted):
            changes.setdefault(one.first.partition("/")[0], []).append(one)
        return [Emit(*changes.pop(event.message_id, ())) for event in batch]

    @staticmethod
    async def _append_feedback(
        tx: Transaction, counted: Sequence[tuple[Report, Strike]]
    ) -> list[CampaignsCounted]:
        """Report to the scheduler from which egress source each message was sent. Returns what
        campaigns are told."""
        if not counted:
            return []
        sent = await results.load_sent_from(tx, [event.message_id for event, _ in counted])
        known = [(event, strike) for event, strike in counted if event.message_id in sent]
        reported = [
            result_of_report(event, sent[event.message_id])
            for event, _ in known
            if not isinstance(event, RecipientUnsubscribed)
        ]
        await results.append_reports(tx, reported)
        return [
            one
            for event, strike in known
            for one in count_report(event, sent[event.message_id], strike.address_hash)
        ]


async def save_why(
    tx: Transaction, batch: Sequence[MessageScreened], held_ids: Collection[str]
) -> None:
    """Why messages are held, for their reviewers."""
    if held_ids:
        events = [event for event in batch if event.message_id in held_ids]
        await held.save_screenings(tx, [(one.message_id, screening_of(one)) for one in events])


def by_source(
    changes: Sequence[SuppressionChanged],
) -> dict[str, list[Message]]:
    """By the message that caused each."""
    found: dict[str, list[Message]] = {}
    for one in changes:
        found.setdefault(one.source_id, []).append(one)
    return found


def result_of(
    state: MessageRowState | None,
    event: MessageClosed | MessageDelayed | None,
    changes: Sequence[Message] = (),
) -> HandlerResult:
    """state: of the row after this attempt result; None if the result was not applied."""
    if state is None:
        return Drop("repeat")
    if state is not MessageRowState.QUEUED:
        metrics.closed.labels(state).inc()
    return Emit(*changes) if event is None else Emit(event, *changes)


def is_erased(event: Report) -> bool:
    return event.recipient == ERASED


def strike_from_report(event: Report, erased: Mapping[str, bytes]) -> Strike | None:
    """erased: the hashes of the addresses of erased recipients, by message. Without one, nobody can
    say who must get no more mail."""
    hash_ = erased.get(event.message_id) if is_erased(event) else address_hash(event.recipient)
    if event.test or hash_ is None:
        return None
    address = "" if is_erased(event) else event.recipient
    if isinstance(event, BounceReceived):
        return strike_of(
            event.bounce_class,
            tenant_id=event.tenant_id,
            address_hash=hash_,
            address=address,
            message_id=event.message_id,
        )
    if isinstance(event, ComplaintReceived):
        origin, reason, of_list = COMPLAINT, event.feedback_type, ""
    else:
        origin, reason, of_list = UNSUBSCRIBE, event.method, event.list
    return Strike(
        event.tenant_id, hash_, address, origin, 1, event.message_id,
        origin=origin, reason=reason, list=of_list,
    )  # fmt: skip
