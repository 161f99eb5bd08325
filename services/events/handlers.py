"""The door for events: record what is new, and prepare what tenants are told."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta
from uuid import uuid4

from google.protobuf.message import Message

from contracts.ingest.v1.events_pb2 import MessageAccepted
from contracts.router.v1.events_pb2 import DeliveryAssigned
from kernel import clock
from kernel.database import Transaction
from kernel.outcome import Drop, Emit, Outcome
from services.events.domain.calls import Accepts, Call, call_of
from services.events.domain.catalogue import type_of
from services.events.domain.days import day_of, may_make
from services.events.domain.endpoint import Endpoint, wants
from services.events.domain.facts import Fact, Rank, fact_of, is_scheduled
from services.events.domain.state import Entry, State, begin, record
from services.events.store import days, emails, log, tasks, webhooks

LOGGED, REPEAT, TOO_OLD = Emit(), Drop("repeat"), Drop("too old")


@dataclass(slots=True)
class Handlers:
    """room: how many tries an endpoint may be given at once here; take: who makes them."""

    room: Callable[[Endpoint], int]
    take: Callable[[Sequence[Call]], None]
    lease_s: float
    accepts: Accepts = field(default_factory=Accepts)
    known_days: set[date] = field(default_factory=set)

    async def on_any(self, batch: Sequence[Message], tx: Transaction) -> list[Outcome]:
        """Facts of messages by message; the others, and what is late for a dropped day, alone."""
        facts = [fact_of(event) for event in batch]
        of_messages = [fact for fact in facts if fact.email_id]
        kept = await self._kept(tx, of_messages)
        entries = await self._messages(tx, [f for f in of_messages if f.event_id in kept])
        loose = [Entry(fact, 1, 1) for fact in facts if not fact.email_id]
        entries += await self._unknown(tx, loose)
        if entries:
            await self._tell(tx, entries, await log.append(tx, entries))
        new = {entry.fact.event_id for entry in entries}
        return [outcome_of(fact, new, kept) for fact in facts]

    async def _kept(self, tx: Transaction, facts: Iterable[Fact]) -> set[str]:
        """The ids of facts whose day has its partition, made now where it may be."""
        by_day: dict[date, list[str]] = defaultdict(list)
        for fact in facts:
            by_day[day_of(fact.subject_id)].append(fact.event_id)
        if missing := by_day.keys() - self.known_days:
            there = await days.existing(tx)
            today = clock.now().date()
            wanted = {day for day in missing - there if may_make(day, today)}
            if wanted:
                await days.make(tx, wanted | {day - timedelta(days=1) for day in wanted})
            tx.after_commit(lambda: self._learn(there | wanted))
            missing -= there | wanted
        return {one for day, ids in by_day.items() if day not in missing for one in ids}

    def _learn(self, there: set[date]) -> None:
        self.known_days = there

    async def _unknown(self, tx: Transaction, entries: Sequence[Entry]) -> list[Entry]:
        if not entries:
            return []
        known = await log.known(tx, [entry.fact for entry in entries])
        return [entry for entry in entries if entry.fact.event_id not in known]

    async def _messages(self, tx: Transaction, facts: Sequence[Fact]) -> list[Entry]:
        if not facts:
            return []
        by_subject: dict[str, list[Fact]] = defaultdict(list)
        for fact in facts:
            by_subject[fact.subject_id].append(fact)
        ranks = ranks_of(facts)
        begun = await begin_emails(tx, facts, ranks)
        first = await told_once(tx, facts, begun)
        moved, entries = await record_all(tx, by_subject, first)
        raised = {
            (state.tenant_id, state.email_id): state.rank
            for state in sorted(moved, key=lambda state: state.rank)
            if state.email_id not in begun or state.rank > ranks[state.email_id]
        }
        if raised:
            await emails.raise_rank(tx, raised)
        return entries

    async def _tell(
        self, tx: Transaction, entries: Sequence[Entry], positions: Mapping[str, str]
    ) -> None:
        """A task per told event and endpoint that wants it, most of them born claimed."""
        told = [entry for entry in entries if entry.told]
        if not told:
            return
        by_tenant: dict[str, list[Endpoint]] = defaultdict(list)
        tenants = {entry.fact.tenant_id for entry in told}
        for endpoint in await webhooks.of_tenants(tx, tenants):
            by_tenant[endpoint.tenant_id].append(endpoint)
        self.accepts.learn(e.fact for e in entries if e.fact.tenant_id in by_tenant)
        new, calls = self._tasks(told, by_tenant, positions=positions)
        if new:
            await tasks.add(tx, new, lease_s=self.lease_s)
            tx.after_commit(lambda: self.take(calls))

    def _tasks(
        self,
        told: Sequence[Entry],
        by_tenant: Mapping[str, Sequence[Endpoint]],
        *,
        positions: Mapping[str, str],
    ) -> tuple[list[tasks.NewTask], list[Call]]:
        token = str(uuid4())
        rooms = {e.id: self.room(e) for some in by_tenant.values() for e in some}
        new, calls = [], []
        for entry in told:
            name = type_of(entry.fact, told=True)
            accepted = self.accepts.of(entry.fact)
            for endpoint in by_tenant.get(entry.fact.tenant_id, ()):
                if not wants(endpoint.event_types, name) or endpoint.id == entry.fact.subject_id:
                    continue
                position = positions[entry.fact.event_id]
                mine = rooms[endpoint.id] > 0 and (accepted is not None or not entry.fact.email_id)
                rooms[endpoint.id] -= mine
                new.append(task_of(entry.fact, endpoint, token=token if mine else None,
                                   name=name, position=position))  # fmt: skip
                if mine:
                    calls.append(call_of(entry, accepted, endpoint=endpoint, token=token,
                                         position=position))  # fmt: skip
        return new, calls


def task_of(
    fact: Fact, endpoint: Endpoint, *, token: str | None, name: str, position: str
) -> tasks.NewTask:
    return tasks.NewTask(
        fact.event_id, endpoint.id, fact.tenant_id, fact.subject_id, position, name, token
    )


def outcome_of(fact: Fact, new: Collection[str], kept: Collection[str]) -> Outcome:
    if fact.event_id in new:
        return LOGGED
    return REPEAT if not fact.email_id or fact.event_id in kept else TOO_OLD


def ranks_of(facts: Iterable[Fact]) -> dict[str, int]:
    """How far each email has come, by these facts alone."""
    ranks: dict[str, int] = defaultdict(int)
    for fact in facts:
        ranks[fact.email_id] = max(ranks[fact.email_id], fact.rank)
    return ranks


async def begin_emails(
    tx: Transaction, facts: Iterable[Fact], ranks: Mapping[str, int]
) -> dict[str, str]:
    """Emails that are heard of for the first time → the id of the accept that tells of them."""
    found: dict[str, emails.Email] = {}
    for fact in sorted(facts, key=lambda fact: fact.subject_id):
        if isinstance(fact.event, MessageAccepted) and fact.email_id not in found:
            found[fact.email_id] = emails.Email(
                fact.tenant_id,
                fact.email_id,
                fact.subject_id,
                fact.event_id,
                ranks[fact.email_id],
                not is_scheduled(fact.event.envelope) or ranks[fact.email_id] >= Rank.SENT,
                tags_of(fact.event),
            )
    if not found:
        return {}
    return {one: found[one].accepted for one in await emails.begin(tx, found.values())}


def tags_of(event: MessageAccepted) -> list[str]:
    """As the list is asked for them: by name, or by name:value."""
    return [text for name, value in event.tags.items() for text in (name, f"{name}:{value}")]


async def told_once(tx: Transaction, facts: Iterable[Fact], begun: Mapping[str, str]) -> set[str]:
    """The facts that tell of an email as a whole: it is there, or a scheduled one leaves."""
    leaving: dict[str, Fact] = {}
    for fact in facts:
        if (
            isinstance(fact.event, DeliveryAssigned)
            and fact.email_id not in begun
            and is_scheduled(fact.event.envelope)
        ):
            leaving.setdefault(fact.email_id, fact)
    sent = await emails.mark_sent(tx, leaving.values()) if leaving else set()
    return {*begun.values(), *(leaving[one].event_id for one in sent)}


async def record_all(
    tx: Transaction, by_subject: Mapping[str, Sequence[Fact]], first: Collection[str]
) -> tuple[list[State], list[Entry]]:
    """The states that moved, and the entries to write.

    A message without a state has no facts yet, so one insert settles it; the others are locked
    first, and then asked what they know already.
    """
    now = clock.now()
    drafts = {
        subject: record(begin(facts[0]), facts, first=first, now=now)
        for subject, facts in by_subject.items()
    }
    new = await log.begin(tx, [state for state, _ in drafts.values()])
    moved = {subject: drafts[subject] for subject in new}
    if others := by_subject.keys() - new:
        states = await log.lock(tx, others)
        known = await log.known(tx, [fact for one in others for fact in by_subject[one]])
        for subject in others:
            fresh = [fact for fact in by_subject[subject] if fact.event_id not in known]
            if fresh:
                moved[subject] = record(states[subject], fresh, first=first, now=now)
        changed = [moved[subject][0] for subject in others & moved.keys()]
        if changed:
            await log.save(tx, changed)
    return [state for state, _ in moved.values()], [e for _, some in moved.values() for e in some]
