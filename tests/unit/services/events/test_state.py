"""The state of a message is what its facts say, in whatever order and company they come."""

from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from contracts.router.v1.events_pb2 import CLOSED_STATE_BOUNCED
from contracts.shield.v1.events_pb2 import VERDICT_HOLD
from services.events.domain.facts import Fact, Rank, fact_of
from services.events.domain.state import Entry, State, begin, record
from tests.support.facts import ACCEPTED_AT, LATER, NEVER, Told

MESSAGE = Told()
LIFE: list[Message] = [
    MESSAGE.accepted(),
    MESSAGE.screened(),
    MESSAGE.assigned(1),
    MESSAGE.attempted(1, reply=LATER),
    MESSAGE.delayed(1),
    MESSAGE.assigned(2),
    MESSAGE.attempted(2, reply=NEVER),
    MESSAGE.closed(CLOSED_STATE_BOUNCED, reply=NEVER),
    MESSAGE.complained(),
]
FACTS = [fact_of(event) for event in LIFE]


def played(batches: Sequence[Sequence[Fact]]) -> tuple[State, list[Entry]]:
    state, entries = begin(FACTS[0]), []
    for batch in batches:
        state, some = record(state, batch, first={FACTS[0].event_id}, now=ACCEPTED_AT)
        entries += some
    return state, entries


@given(st.permutations(FACTS), st.sets(st.integers(1, len(FACTS) - 1)))
def test_any_order_in_any_batches_gives_the_same_state(facts: list[Fact], cuts: set[int]) -> None:
    bounds = [0, *sorted(cuts), len(facts)]
    batches = [facts[a:b] for a, b in pairwise(bounds)]

    state, entries = played(batches)

    whole, _ = played([FACTS])
    ignored = ("told", "delayed_at")  # a delay that comes after the close is not told
    assert {n: getattr(state, n) for n in State._fields if n not in ignored} == {
        n: getattr(whole, n) for n in State._fields if n not in ignored
    }
    assert [entry.seq for entry in entries] == list(range(1, len(FACTS) + 1))
    told = [entry.told for entry in entries if entry.told]
    assert told == list(range(1, len(told) + 1))


def test_held_mail_is_held_until_something_becomes_of_it() -> None:
    screened = MESSAGE.screened()
    screened.verdict = VERDICT_HOLD
    held = fact_of(screened)

    state, entries = record(begin(held), [FACTS[0], held], first=set(), now=ACCEPTED_AT)
    later, _ = record(state, [fact_of(MESSAGE.closed())], first=set(), now=ACCEPTED_AT)

    assert (state.rank, entries[-1].told) == (Rank.HELD, 1)
    assert later.rank == Rank.DELIVERED


def test_held_mail_that_leaves_was_released() -> None:
    screened = MESSAGE.screened()
    screened.verdict = VERDICT_HOLD
    held, _ = record(begin(FACTS[0]), [FACTS[0], fact_of(screened)], first=(), now=ACCEPTED_AT)

    left, _ = record(held, [fact_of(MESSAGE.assigned(1))], first=(), now=ACCEPTED_AT)
    later, _ = record(left, [fact_of(MESSAGE.delayed(1))], first=(), now=ACCEPTED_AT)

    assert (held.rank, left.rank, later.rank) == (Rank.HELD, Rank.SENT, Rank.DELAYED)


def test_a_bounced_message_that_was_complained_about_is_complained() -> None:
    state, _ = played([FACTS])

    assert state.rank == Rank.COMPLAINED
    assert state.closed == CLOSED_STATE_BOUNCED


def test_a_tenant_hears_of_the_accept_the_delay_the_close_and_the_complaint() -> None:
    _, entries = played([FACTS])

    assert [type(entry.fact.event).__name__ for entry in entries if entry.told] == [
        "MessageAccepted",
        "MessageDelayed",
        "MessageClosed",
        "ComplaintReceived",
    ]


@pytest.mark.parametrize(("hours", "told"), [(1, 0), (3.9, 0), (4, 2), (30, 2)])
def test_a_second_delay_is_told_after_four_hours(hours: float, told: int) -> None:
    state, _ = record(begin(FACTS[0]), [FACTS[4]], first=(), now=ACCEPTED_AT)
    later = ACCEPTED_AT + timedelta(hours=hours)

    _, [entry] = record(state, [fact_of(MESSAGE.delayed(2))], first=(), now=later)

    assert entry.told == told


def test_an_accept_that_is_not_its_emails_first_is_not_told() -> None:
    _, [entry] = record(begin(FACTS[0]), [FACTS[0]], first=(), now=ACCEPTED_AT)

    assert (entry.seq, entry.told) == (1, 0)


def test_a_fact_without_an_email_is_none() -> None:
    event = MESSAGE.closed()
    event.email_id = ""

    with pytest.raises(ValueError, match="email_id"):
        fact_of(event)
