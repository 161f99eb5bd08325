"""The door for events: record what is new, and prepare what tenants are told."""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from operator import attrgetter
from uuid import uuid4

from google.protobuf.message import Message

from contracts.ingest.v1.events_pb2 import MessageAccepted
from contracts.router.v1.events_pb2 import DeliveryAssigned
from kernel import clock
from kernel.database import Transaction
from kernel.days import day_of
from kernel.outcome import Drop, Emit, Outcome
from services.events.domain.calls import Accepts, Call, call_of
from services.events.domain.catalogue import type_of
from services.events.domain.endpoint import Endpoint, wants
from services.events.domain.facts import Fact, Kind, Rank, fact_of, is_scheduled, is_test
from services.events.domain.state import STEP, Entry, State, begin, merged, record
from services.events.store import emails, log
from services.events.store.days import LogDays
from services.events.store.emails import Email
from services.events.store.tasks import NewTask

LOGGED, REPEAT, TOO_OLD = Emit(), Drop("repeat"), Drop("too old")


@dataclass(frozen=True, slots=True)
class Recorded:
    """What a batch adds to messages. changed: states that were there before. released: emails that
    were held, of those with a new rank."""

    entries: list[Entry]
    changed: list[State]
    ranks: Mapping[tuple[str, str], int]
    released: Collection[tuple[str, str]]


@dataclass(slots=True)
class Handlers:
    """room: how many tries an endpoint may be given at once here; take: who makes them."""

    room: Callable[[Endpoint], int]
    take: Callable[[Sequence[Call]], None]
    lease_s: float
    accepts: Accepts = field(default_factory=Accepts)
    days: LogDays = field(default_factory=LogDays)

    async def on_any(self, batch: Sequence[Message], tx: Transaction) -> list[Outcome]:
        """Facts of messages by message; those of endpoints, which are few, alone."""
        facts = [fact_of(event) for event in batch]
        gone = await self._gone(tx, {fact.subject_id for fact in facts if fact.email_id})
        kept = [fact for fact in facts if fact.email_id and fact.subject_id not in gone]
        tenants = {fact.tenant_id for fact in facts}
        recorded, endpoints = await record_all(tx, kept, tenants=tenants)
        entries = recorded.entries + await unknown(tx, [f for f in facts if not f.email_id])
        positions = log.positions_of(entries)
        tasks, calls = self._tasks(entries, endpoints, positions=positions)
        writing = log.Writing(
            entries,
            positions,
            recorded.changed,
            ranks=recorded.ranks,
            released=recorded.released,
            tasks=tasks,
            lease_s=self.lease_s,
        )
        await log.write(tx, writing)
        if tasks:
            tx.after_commit(lambda: self.take(calls))
        new = positions.keys()
        return [outcome_of(fact, new, gone) for fact in facts]

    async def _gone(self, tx: Transaction, subjects: Collection[str]) -> set[str]:
        """Messages whose day has no partition any more; one that may be made is made now."""
        day_by_subject = {subject: day_of(subject) for subject in subjects}
        gone = await self.days.ensure(tx, day_by_subject.values(), today=clock.now().date())
        return {subject for subject, day in day_by_subject.items() if day in gone}

    def _tasks(
        self,
        entries: Iterable[Entry],
        endpoints: Iterable[Endpoint],
        *,
        positions: Mapping[str, str],
    ) -> tuple[list[NewTask], list[Call]]:
        """A task per told event and endpoint that wants it, most of them born claimed."""
        by_tenant: dict[str, list[Endpoint]] = defaultdict(list)
        for endpoint in endpoints:
            by_tenant[endpoint.tenant_id].append(endpoint)
        heard = [entry for entry in entries if entry.fact.tenant_id in by_tenant]
        self.accepts.learn(entry.fact for entry in heard)
        token = str(uuid4())
        rooms = {e.id: self.room(e) for some in by_tenant.values() for e in some}
        tasks: list[NewTask] = []
        calls: list[Call] = []
        for entry in heard:
            if not entry.told:
                continue
            name, position = type_of(entry.fact, told=True), positions[entry.fact.event_id]
            accepted = self.accepts.of(entry.fact)
            complete = accepted is not None or not entry.fact.email_id
            for endpoint in by_tenant[entry.fact.tenant_id]:
                if not is_for(endpoint, entry.fact, name):
                    continue
                claim = token if complete and rooms[endpoint.id] > 0 else None
                tasks.append(task_of(entry.fact, endpoint.id, name=name, at=position, token=claim))
                if claim:
                    rooms[endpoint.id] -= 1
                    calls.append(
                        call_of(entry, accepted, endpoint=endpoint, token=token, position=position)
                    )
        return tasks, calls


def is_for(endpoint: Endpoint, fact: Fact, name: str) -> bool:
    """Whether an endpoint is told of a fact; one of test mail never of live mail."""
    if endpoint.id == fact.subject_id or (endpoint.test and not is_test(fact)):
        return False
    return wants(endpoint.event_types, name)


def task_of(fact: Fact, endpoint_id: str, *, name: str, at: str, token: str | None) -> NewTask:
    return NewTask(endpoint_id, at, fact.event_id, fact.subject_id, fact.tenant_id, name, token)


def outcome_of(fact: Fact, new: Collection[str], gone: Collection[str]) -> Outcome:
    if fact.event_id in new:
        return LOGGED
    return TOO_OLD if fact.subject_id in gone else REPEAT


async def unknown(tx: Transaction, facts: Sequence[Fact]) -> list[Entry]:
    """Entries of endpoints' facts that are not recorded yet."""
    if not facts:
        return []
    known = await log.known_facts(tx, facts)
    return [Entry(fact, 1, 1) for fact in facts if fact.event_id not in known]


async def record_all(
    tx: Transaction, facts: Sequence[Fact], *, tenants: Collection[str]
) -> tuple[Recorded, Sequence[Endpoint]]:
    """Begin every message as if it were new: one whose accept is here with its facts, for then it
    is. What was there is locked thereby, and asked what it knows."""
    by_subject: dict[str, list[Fact]] = defaultdict(list)
    for fact in facts:
        by_subject[fact.subject_id].append(fact)
    ranks, now = ranks_of(facts), clock.now()
    accepted = emails_of(facts, ranks)
    leaving = await told_as_sent(tx, facts, accepted)
    first = leaving | {one.accepted for one in accepted.values()}
    arrived = {fact.subject_id for fact in facts if fact.kind == Kind.ACCEPTED}
    drafts = drafted({one: by_subject[one] for one in arrived}, first, now=now)
    others = [begin(some[0]) for one, some in by_subject.items() if one not in arrived]
    opened = await log.begin(
        tx,
        emails=accepted.values(),
        states=[*(state for state, _ in drafts.values()), *others],
        tenants=tenants,
    )
    await emails.tag(tx, [email for email in accepted.values() if email.email_id in opened.emails])
    first = leaving | {accepted[one].accepted for one in opened.emails}
    # Whose email another message has brought already: begun as if they told of it.
    late = {email.message_id for one, email in accepted.items() if one not in opened.emails}
    begun = opened.states & arrived - late
    changed = drafted({one: by_subject[one] for one in opened.states - begun}, first, now=now)
    released = set()
    if there := by_subject.keys() - opened.states:
        states, repeats = await log.known(tx, [fact for one in there for fact in by_subject[one]])
        for state in states:
            fresh = [one for one in by_subject[state.subject_id] if one.event_id not in repeats]
            if fresh:
                after, _ = changed[state.subject_id] = record(state, fresh, first=first, now=now)
                if (state.rank, after.rank) == (Rank.HELD, Rank.SENT):
                    released.add((state.tenant_id, state.email_id))
    moved = {subject: drafts[subject] for subject in begun} | changed
    raised = raised_by([state for state, _ in moved.values()], opened.emails, begun=ranks)
    entries = [entry for _, some in moved.values() for entry in some]
    states_then = [state for state, _ in changed.values()]
    return Recorded(entries, states_then, raised, released), opened.endpoints


def drafted(
    by_subject: Mapping[str, Sequence[Fact]], first: Collection[str], *, now: datetime
) -> dict[str, tuple[State, list[Entry]]]:
    """Messages as if nothing was known of them."""
    return {
        subject: record(begin(facts[0]), facts, first=first, now=now)
        for subject, facts in by_subject.items()
    }


def ranks_of(facts: Iterable[Fact]) -> dict[str, int]:
    """How far each email has come, by these facts alone: as its message that came furthest."""
    messages: dict[tuple[str, str], int] = defaultdict(int)
    for fact in sorted(facts, key=STEP):
        key = fact.email_id, fact.subject_id
        messages[key] = merged(messages[key], fact)
    ranks: dict[str, int] = defaultdict(int)
    for (email_id, _), rank in messages.items():
        ranks[email_id] = max(ranks[email_id], rank)
    return ranks


def raised_by(
    states: Iterable[State], new: Collection[str], *, begun: Mapping[str, int]
) -> dict[tuple[str, str], int]:
    """Ranks that emails may have to be raised to: not those that were just inserted with them."""
    ranks: dict[tuple[str, str], int] = defaultdict(int)
    for state in states:
        if state.email_id not in new or state.rank > begun[state.email_id]:
            key = (state.tenant_id, state.email_id)
            ranks[key] = max(ranks[key], state.rank)
    return ranks


def emails_of(facts: Iterable[Fact], ranks: Mapping[str, int]) -> dict[str, Email]:
    """The emails that are accepted here, told by the first of their messages."""
    found: dict[str, Email] = {}
    told = [fact for fact in facts if fact.kind == Kind.ACCEPTED]
    for fact in sorted(told, key=attrgetter("subject_id")):
        if isinstance(fact.event, MessageAccepted) and fact.email_id not in found:
            rank = ranks[fact.email_id]
            found[fact.email_id] = Email(
                fact.tenant_id,
                fact.email_id,
                fact.subject_id,
                fact.event_id,
                rank,
                sent=rank >= Rank.SENT,
                tags=tags_of(fact.event),
                test=fact.event.envelope.test,
            )
    return found


def tags_of(event: MessageAccepted) -> list[str]:
    """As the list is asked for them: by name, or by name:value."""
    return [text for name, value in event.tags.items() for text in (name, f"{name}:{value}")]


async def told_as_sent(
    tx: Transaction, facts: Iterable[Fact], accepted: Collection[str]
) -> set[str]:
    """The ids of the assignments by which scheduled emails leave."""
    leaving: dict[str, Fact] = {}
    for fact in facts:
        if (
            isinstance(fact.event, DeliveryAssigned)
            and fact.email_id not in accepted
            and is_scheduled(fact.event.envelope)
        ):
            leaving.setdefault(fact.email_id, fact)
    sent = await emails.mark_sent(tx, leaving.values()) if leaving else set()
    return {leaving[one].event_id for one in sent}
