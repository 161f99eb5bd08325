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
from services.events.domain.log_event import LogEvent, StatusRank, log_event_of
from services.events.domain.state import LogEntry, MessageState, apply_events, new_state
from tests.support.message_events import ACCEPTED_AT, LATER, NEVER, MessageEvents

MESSAGE = MessageEvents()
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
LOG_EVENTS = [log_event_of(event) for event in LIFE]


def played(batches: Sequence[Sequence[LogEvent]]) -> tuple[MessageState, list[LogEntry]]:
    state, entries = new_state(LOG_EVENTS[0]), []
    for batch in batches:
        state, some = apply_events(state, batch, first={LOG_EVENTS[0].event_id}, now=ACCEPTED_AT)
        entries += some
    return state, entries


@given(st.permutations(LOG_EVENTS), st.sets(st.integers(1, len(LOG_EVENTS) - 1)))
def test_any_order_in_any_batches_gives_the_same_state(
    facts: list[LogEvent], cuts: set[int]
) -> None:
    bounds = [0, *sorted(cuts), len(facts)]
    batches = [facts[a:b] for a, b in pairwise(bounds)]

    state, entries = played(batches)

    whole, _ = played([LOG_EVENTS])
    ignored = ("public_seq", "delayed_at")  # a delay that comes after the close is not public_seqs
    assert {n: getattr(state, n) for n in MessageState._fields if n not in ignored} == {
        n: getattr(whole, n) for n in MessageState._fields if n not in ignored
    }
    assert [entry.seq for entry in entries] == list(range(1, len(LOG_EVENTS) + 1))
    public_seqs = [entry.public_seq for entry in entries if entry.public_seq]
    assert public_seqs == list(range(1, len(public_seqs) + 1))


def test_held_mail_is_held_until_something_becomes_of_it() -> None:
    screened = MESSAGE.screened()
    screened.verdict = VERDICT_HOLD
    held = log_event_of(screened)

    state, entries = apply_events(
        new_state(held), [LOG_EVENTS[0], held], first=set(), now=ACCEPTED_AT
    )
    later, _ = apply_events(state, [log_event_of(MESSAGE.closed())], first=set(), now=ACCEPTED_AT)

    assert (state.rank, entries[-1].public_seq) == (StatusRank.HELD, 1)
    assert later.rank == StatusRank.DELIVERED


def test_held_mail_that_leaves_was_released() -> None:
    screened = MESSAGE.screened()
    screened.verdict = VERDICT_HOLD
    held, _ = apply_events(
        new_state(LOG_EVENTS[0]), [LOG_EVENTS[0], log_event_of(screened)], first=(), now=ACCEPTED_AT
    )

    left, _ = apply_events(held, [log_event_of(MESSAGE.assigned(1))], first=(), now=ACCEPTED_AT)
    later, _ = apply_events(left, [log_event_of(MESSAGE.delayed(1))], first=(), now=ACCEPTED_AT)

    assert (held.rank, left.rank, later.rank) == (
        StatusRank.HELD,
        StatusRank.SENT,
        StatusRank.DELAYED,
    )


def test_a_bounced_message_that_was_complained_about_is_complained() -> None:
    state, _ = played([LOG_EVENTS])

    assert state.rank == StatusRank.COMPLAINED
    assert state.closed == CLOSED_STATE_BOUNCED


def test_a_tenant_hears_of_the_accept_the_delay_the_close_and_the_complaint() -> None:
    _, entries = played([LOG_EVENTS])

    assert [type(entry.event.payload).__name__ for entry in entries if entry.public_seq] == [
        "MessageAccepted",
        "MessageDelayed",
        "MessageClosed",
        "ComplaintReceived",
    ]


@pytest.mark.parametrize(("hours", "public_seqs"), [(1, 0), (3.9, 0), (4, 2), (30, 2)])
def test_a_second_delay_is_told_after_four_hours(hours: float, public_seqs: int) -> None:
    state, _ = apply_events(new_state(LOG_EVENTS[0]), [LOG_EVENTS[4]], first=(), now=ACCEPTED_AT)
    later = ACCEPTED_AT + timedelta(hours=hours)

    _, [entry] = apply_events(state, [log_event_of(MESSAGE.delayed(2))], first=(), now=later)

    assert entry.public_seq == public_seqs


def test_an_accept_that_is_not_its_emails_first_is_not_told() -> None:
    _, [entry] = apply_events(new_state(LOG_EVENTS[0]), [LOG_EVENTS[0]], first=(), now=ACCEPTED_AT)

    assert (entry.seq, entry.public_seq) == (1, 0)


def test_a_fact_without_an_email_is_none() -> None:
    event = MESSAGE.closed()
    event.email_id = ""

    with pytest.raises(ValueError, match="email_id"):
        log_event_of(event)
