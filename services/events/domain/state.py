"""How the facts of a message become its state: merged by rank, so that their order is nothing."""

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from operator import attrgetter
from typing import NamedTuple

from contracts.router.v1.events_pb2 import CLOSED_STATE_FAILED, MessageClosed
from kernel import times
from services.events.domain.facts import Fact, Kind, Rank

DELAY_TOLD_EVERY = timedelta(hours=4)  # conventions: at the first, then at most one per 4 hours
ALWAYS_TOLD = frozenset({Kind.CLOSED, Kind.COMPLAINT, Kind.BOUNCE})
NEVER_TOLD = frozenset({Kind.ATTEMPTED})
ONCE_PER_EMAIL = frozenset({Kind.ACCEPTED, Kind.ASSIGNED})
LEAVING = frozenset({Kind.ASSIGNED, Kind.ATTEMPTED})
STEP = attrgetter("step")


class State(NamedTuple):
    """A message in the log. seq, told: how many facts are recorded, and were told to its tenant."""

    subject_id: str
    tenant_id: str
    email_id: str
    recipient: str
    seq: int = 0
    told: int = 0
    rank: int = Rank.UNKNOWN
    closed: int = 0
    closed_at: datetime | None = None
    delayed_at: datetime | None = None


class Entry(NamedTuple):
    """A fact with its numbers; told 0: the tenant is not told."""

    fact: Fact
    seq: int
    told: int


def begin(fact: Fact) -> State:
    return State(fact.subject_id, fact.tenant_id, fact.email_id, fact.recipient.lower())


def record(
    state: State, facts: Iterable[Fact], *, first: Collection[str], now: datetime
) -> tuple[State, list[Entry]]:
    """The state with these facts, which are new, and their entries by cause.

    first: ids of the facts that are told once per email, and are the first of theirs.
    """
    seq, told, rank = state.seq, state.told, state.rank
    closed, closed_at, delayed_at = state.closed, state.closed_at, state.delayed_at
    entries = []
    for fact in sorted(facts, key=STEP):
        seq += 1
        kind, number = fact.kind, 0
        if kind not in NEVER_TOLD and is_told(
            fact, first=first, closed=bool(closed), delayed_at=delayed_at, now=now
        ):
            told += 1
            number = told
            delayed_at = now if kind == Kind.DELAYED else delayed_at
        entries.append(Entry(fact, seq, number))
        rank = merged(rank, fact)
        if isinstance(fact.event, MessageClosed):
            closed, closed_at = fact.event.state or CLOSED_STATE_FAILED, _closed_at(fact.event, now)
    return State(*state[:4], seq, told, rank, closed, closed_at, delayed_at), entries


def merged(rank: int, fact: Fact) -> int:
    """How far a message has come: the highest wins, but for one that was held and leaves, because
    somebody has released it."""
    if rank == Rank.HELD and fact.kind in LEAVING:
        return Rank.SENT
    return max(rank, fact.rank)


def is_told(
    fact: Fact,
    *,
    first: Collection[str],
    closed: bool,
    delayed_at: datetime | None,
    now: datetime,
) -> bool:
    """Whether a tenant hears of it, beside finding it in the timeline."""
    if fact.kind in ONCE_PER_EMAIL:
        return fact.event_id in first
    if fact.kind == Kind.SCREENED:
        return fact.rank == Rank.HELD
    if fact.kind == Kind.DELAYED:
        return not closed and (delayed_at is None or now - delayed_at >= DELAY_TOLD_EVERY)
    return fact.kind in ALWAYS_TOLD


def _closed_at(event: MessageClosed, now: datetime) -> datetime:
    return times.near(event.closed_at) if event.HasField("closed_at") else now
