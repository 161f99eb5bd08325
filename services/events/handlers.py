"""Event handlers: record new events, and prepare their webhook deliveries."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from uuid import uuid4

from google.protobuf.message import Message

from contracts.ingest.v1.directory_pb2 import Account, Tenant
from contracts.ingest.v1.events_pb2 import MessageAccepted
from contracts.router.v1.events_pb2 import DeliveryAssigned
from kernel import clock, tenant_accounts
from kernel.database import Transaction
from kernel.days import day_of
from kernel.handler_result import Drop, Emit, HandlerResult
from kernel.redaction import ERASED
from services.events.domain.catalog import event_type_of
from services.events.domain.endpoint import WebhookEndpoint
from services.events.domain.erasure import without_recipient
from services.events.domain.event_filter import header_tag
from services.events.domain.figures.counting import FactsChange, deltas_of
from services.events.domain.log_event import (
    EventKind,
    LogEvent,
    StatusRank,
    is_scheduled,
    log_event_of,
)
from services.events.domain.ranks import raised_ranks, ranks_of
from services.events.domain.state import (
    LogEntry,
    MessageState,
    apply_events,
    new_message_state,
)
from services.events.domain.subscription import is_subscribed, tags_of
from services.events.domain.webhook_attempt import (
    AcceptedMessageCache,
    WebhookAttempt,
    webhook_attempt_of,
)
from services.events.store import emails, exports, log, reports
from services.events.store.days import LogDayPartitions
from services.events.store.emails import NewEmail
from services.events.store.webhook_deliveries import NewWebhookDelivery

LOGGED, REPEAT, TOO_OLD, NOBODYS = Emit(), Drop("repeat"), Drop("too old"), Drop("nobody's")


async def on_owner(batch: Sequence[Message], tx: Transaction) -> list[HandlerResult]:
    """Record the account of a tenant; delete the exports and reports of a tenant that was closed,
    and the reports of an account."""
    tenants = [one for one in batch if isinstance(one, Tenant)]
    accounts = ((one.tenant_id, one.account_id) for one in tenants)
    await tenant_accounts.record_accounts(tx, "events", accounts)
    if closed := [one.tenant_id for one in tenants if one.deleted]:
        await exports.delete_of_tenants(tx, closed)
        await reports.delete_of_tenants(tx, closed)
    if closed := [one.account_id for one in batch if isinstance(one, Account) and one.deleted]:
        await reports.delete_of_accounts(tx, closed)
    return [LOGGED for _ in batch]


@dataclass(frozen=True, slots=True)
class BatchChanges:
    """The changes that a batch makes. changed: new states of existing messages. released: emails in
    `ranks` that were held before. counted: what figures count of each message."""

    entries: list[LogEntry]
    changed: list[MessageState]
    ranks: Mapping[tuple[str, str], int]
    released: Collection[tuple[str, str]]
    counted: Sequence[FactsChange]


@dataclass(slots=True)
class EventLogHandler:
    """capacity: returns how many attempts the endpoint's queue still admits in this process;
    enqueue: adds attempts to the queues; account_of: returns the account of a tenant in the
    directory, or an empty text."""

    capacity: Callable[[WebhookEndpoint], int]
    enqueue: Callable[[Sequence[WebhookAttempt]], None]
    lease_s: float
    account_of: Callable[[str], str] = lambda _: ""
    accepts: AcceptedMessageCache = field(default_factory=AcceptedMessageCache)
    days: LogDayPartitions = field(default_factory=LogDayPartitions)

    async def on_event(self, batch: Sequence[Message], tx: Transaction) -> list[HandlerResult]:
        """Record events by message, and those without one, as of endpoints, separately. An event of
        a recipient who unsubscribes when the log has forgotten the message is one of these."""
        log_events = [log_event_of(event) for event in batch]
        dropped = await self._dropped_subjects(
            tx, {log_event.subject_id for log_event in log_events if log_event.email_id}
        )
        owned = [one for one in log_events if one.tenant_id]
        live = [one for one in owned if one.email_id and one.subject_id not in dropped]
        recorded, inserted = await record_all(tx, live, accounts=self._accounts_of(owned))
        entries = recorded.entries + await new_endpoint_entries(
            tx, [one for one in owned if not one.email_id]
        )
        positions = log.positions_of(entries)
        deliveries, attempts = self._plan_deliveries(
            entries, inserted.endpoints, positions=positions
        )
        batch_rows = log.LogWrite(
            entries,
            positions,
            inserted.accounts,
            recorded.changed,
            ranks=recorded.ranks,
            released=recorded.released,
            deliveries=deliveries,
            deltas=deltas_of(recorded.counted),
            lease_s=self.lease_s,
        )
        await log.write_batch(tx, batch_rows)
        if deliveries:
            tx.after_commit(lambda: self.enqueue(attempts))
        new = positions.keys()
        return [result_for(log_event, new, dropped) for log_event in log_events]

    def _accounts_of(self, log_events: Iterable[LogEvent]) -> dict[str, str]:
        """The account of each tenant with events, where an event or the directory tells it. A
        tenant may be so new that the database does not know it: its account would miss deliveries
        of an event that is read before the accept of its message."""
        found: dict[str, str] = {}
        for log_event in log_events:
            tenant_id = log_event.tenant_id
            if account_id := getattr(log_event.payload, "account_id", ""):
                found[tenant_id] = account_id
            elif tenant_id not in found:
                found[tenant_id] = self.account_of(tenant_id)
        return found

    async def _dropped_subjects(self, tx: Transaction, subjects: Collection[str]) -> set[str]:
        """Messages whose day partition was dropped; creates missing partitions of other days."""
        day_by_subject = {subject: day_of(subject) for subject in subjects}
        dropped = await self.days.ensure(tx, day_by_subject.values(), today=clock.now().date())
        return {subject for subject, day in day_by_subject.items() if day in dropped}

    def _plan_deliveries(
        self,
        entries: Iterable[LogEntry],
        endpoints: Mapping[str, Sequence[WebhookEndpoint]],
        *,
        positions: Mapping[str, str],
    ) -> tuple[list[NewWebhookDelivery], list[WebhookAttempt]]:
        """A delivery per public event and endpoint, claimed if the queue has capacity. endpoints:
        by tenant."""
        with_endpoints = [entry for entry in entries if entry.event.tenant_id in endpoints]
        self.accepts.add(entry.event for entry in with_endpoints)
        token = str(uuid4())
        capacities = {e.id: self.capacity(e) for some in endpoints.values() for e in some}
        deliveries: list[NewWebhookDelivery] = []
        attempts: list[WebhookAttempt] = []
        for entry in with_endpoints:
            if not entry.public_seq:
                continue
            name = event_type_of(entry.event, is_public=True)
            position = positions[entry.event.event_id]
            accepted = self.accepts.get(entry.event)
            complete = accepted is not None or not entry.event.email_id
            for endpoint in endpoints[entry.event.tenant_id]:
                if not is_subscribed(endpoint, entry.event, name, accepted=accepted):
                    continue
                claim = token if complete and capacities[endpoint.id] > 0 else None
                deliveries.append(
                    new_webhook_delivery(entry.event, endpoint, name=name, at=position, token=claim)
                )
                if claim:
                    capacities[endpoint.id] -= 1
                    attempts.append(
                        webhook_attempt_of(
                            entry, accepted, endpoint=endpoint, token=token, position=position
                        )
                    )
        return deliveries, attempts


def new_webhook_delivery(
    log_event: LogEvent, endpoint: WebhookEndpoint, *, name: str, at: str, token: str | None
) -> NewWebhookDelivery:
    return NewWebhookDelivery(
        endpoint.id, at, log_event.event_id, log_event.subject_id, endpoint.owner_id, name, token
    )


def result_for(
    log_event: LogEvent, new: Collection[str], dropped: Collection[str]
) -> HandlerResult:
    if log_event.event_id in new:
        return LOGGED
    if not log_event.tenant_id:
        return NOBODYS
    return TOO_OLD if log_event.subject_id in dropped else REPEAT


async def new_endpoint_entries(tx: Transaction, log_events: Sequence[LogEvent]) -> list[LogEntry]:
    """The entries of events without an email that are not recorded yet."""
    if not log_events:
        return []
    known = await log.recorded_event_ids(tx, log_events)
    return [
        LogEntry(log_event, 1, 1) for log_event in log_events if log_event.event_id not in known
    ]


async def record_all(
    tx: Transaction, log_events: Sequence[LogEvent], *, accounts: Mapping[str, str]
) -> tuple[BatchChanges, log.InsertedBatch]:
    """Insert every message as if it were new; most are, if their accept is in the batch. This locks
    the existing ones, whose states are then read and updated. accounts: by tenant."""
    by_subject: dict[str, list[LogEvent]] = defaultdict(list)
    for log_event in log_events:
        by_subject[log_event.subject_id].append(log_event)
    ranks, now = ranks_of(log_events), clock.now()
    accepted = new_emails(log_events, ranks)
    sent = await mark_scheduled_sent(tx, log_events, accepted)
    first = sent | {one.accepted_event_id for one in accepted.values()}
    arrived = {one.subject_id for one in log_events if one.kind == EventKind.ACCEPTED}
    arrivals = initial_states({one: by_subject[one] for one in arrived}, first, now=now)
    others = [new_message_state(some[0]) for one, some in by_subject.items() if one not in arrived]
    states = [*(state for state, _ in arrivals.values()), *others]
    new = await log.insert_new(tx, emails=accepted.values(), states=states, accounts=accounts)
    await emails.insert_tags(tx, [one for one in accepted.values() if one.email_id in new.emails])
    first = sent | {accepted[one].accepted_event_id for one in new.emails}
    # First messages here of emails that exist already: they were inserted as the first of all.
    not_first = {email.message_id for one, email in accepted.items() if one not in new.emails}
    inserted = new.states & arrived - not_first
    rest = {one: by_subject[one] for one in new.states - inserted}
    changed = initial_states(rest, first, now=now)
    released, loaded = set(), list[MessageState]()
    if existing := by_subject.keys() - new.states:
        found = [event for one in existing for event in by_subject[one]]
        loaded, repeats = await log.load_states_and_repeats(tx, found)
        for state in loaded:
            if fresh := new_events(state, by_subject[state.subject_id], repeats):
                after, _ = changed[state.subject_id] = apply_events(
                    state, fresh, first=first, now=now
                )
                if (state.rank, after.rank) == (StatusRank.HELD, StatusRank.SENT):
                    released.add((state.tenant_id, state.email_id))
    updates = {subject: arrivals[subject] for subject in inserted} | changed
    raised = raised_ranks([state for state, _ in updates.values()], new.emails, inserted=ranks)
    entries = [entry for _, some in updates.values() for entry in some]
    counted = changes_of(loaded, [state for state, _ in updates.values()])
    states = [state for state, _ in changed.values()]
    return BatchChanges(entries, states, raised, released, counted), new


def new_events(
    state: MessageState, log_events: Iterable[LogEvent], repeats: Collection[str]
) -> list[LogEvent]:
    """Those of a message that exists. Without the recipient, if that was erased meanwhile."""
    fresh = [one for one in log_events if one.event_id not in repeats]
    return [without_recipient(one) for one in fresh] if state.recipient == ERASED else fresh


def changes_of(loaded: Iterable[MessageState], states: Iterable[MessageState]) -> list[FactsChange]:
    """What figures count anew. loaded: the states before, of messages that existed."""
    facts = {state.subject_id: state.facts for state in loaded}
    return [
        FactsChange(one.tenant_id, one.subject_id, facts.get(one.subject_id), one.facts)
        for one in states
    ]


def initial_states(
    by_subject: Mapping[str, Sequence[LogEvent]], first: Collection[str], *, now: datetime
) -> dict[str, tuple[MessageState, list[LogEntry]]]:
    """States and entries of messages as if these were their first events."""
    return {
        subject: apply_events(new_message_state(log_events[0]), log_events, first=first, now=now)
        for subject, log_events in by_subject.items()
    }


def new_emails(log_events: Iterable[LogEvent], ranks: Mapping[str, int]) -> dict[str, NewEmail]:
    """The emails that are accepted in the batch, each with its first message."""
    found: dict[str, NewEmail] = {}
    accepts = [log_event for log_event in log_events if log_event.kind == EventKind.ACCEPTED]
    for log_event in sorted(accepts, key=attrgetter("subject_id")):
        if isinstance(log_event.payload, MessageAccepted) and log_event.email_id not in found:
            rank = ranks[log_event.email_id]
            found[log_event.email_id] = NewEmail(
                log_event.tenant_id,
                log_event.email_id,
                log_event.subject_id,
                log_event.event_id,
                rank,
                sent=rank >= StatusRank.SENT,
                tags=indexed_tags_of(log_event.payload),
                test=log_event.payload.context.test,
                account_id=log_event.payload.account_id,
            )
    return found


def indexed_tags_of(event: MessageAccepted) -> list[str]:
    """The tags of an email, and a Message-ID that its sender chose."""
    own = [header_tag(event.own_message_id)] if event.own_message_id else []
    return own + tags_of(event)


async def mark_scheduled_sent(
    tx: Transaction, log_events: Iterable[LogEvent], accepted: Collection[str]
) -> set[str]:
    """Mark scheduled emails as sent; returns the ids of their first assignments."""
    first_assigned: dict[str, LogEvent] = {}
    for log_event in log_events:
        if (
            isinstance(log_event.payload, DeliveryAssigned)
            and log_event.email_id not in accepted
            and is_scheduled(log_event.payload.context)
        ):
            first_assigned.setdefault(log_event.email_id, log_event)
    sent = await emails.mark_sent(tx, first_assigned.values()) if first_assigned else set()
    return {first_assigned[one].event_id for one in sent}
