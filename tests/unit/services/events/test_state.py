"""The state of a message results from its events, in any order and in any batches."""

from collections.abc import Sequence
from datetime import timedelta
from itertools import pairwise

import pytest
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from contracts.router.v1.events_pb2 import (
    CLOSED_STATE_BOUNCED,
    REVIEW_REJECTED,
    REVIEW_RELEASED,
)
from contracts.shield.v1.events_pb2 import VERDICT_HOLD
from services.events.domain.log_event import LogEvent, StatusRank, log_event_of
from services.events.domain.state import LogEntry, MessageState, apply_events, new_message_state
from tests.support.message_events import ACCEPTED_AT, DEFERRED, REFUSED, MessageEvents

MESSAGE = MessageEvents()
LIFE: list[Message] = [
    MESSAGE.accepted(),
    MESSAGE.screened(),
    MESSAGE.assigned(1),
    MESSAGE.attempted(1, reply=DEFERRED),
    MESSAGE.delayed(1),
    MESSAGE.assigned(2),
    MESSAGE.attempted(2, reply=REFUSED),
    MESSAGE.closed(CLOSED_STATE_BOUNCED, reply=REFUSED),
    MESSAGE.complained(),
]
LOG_EVENTS = [log_event_of(event) for event in LIFE]


def apply_batches(batches: Sequence[Sequence[LogEvent]]) -> tuple[MessageState, list[LogEntry]]:
    state, entries = new_message_state(LOG_EVENTS[0]), []
    for batch in batches:
        state, some = apply_events(state, batch, first={LOG_EVENTS[0].event_id}, now=ACCEPTED_AT)
        entries += some
    return state, entries


@given(st.permutations(LOG_EVENTS), st.sets(st.integers(1, len(LOG_EVENTS) - 1)))
def test_any_order_in_any_batches_gives_the_same_state(
    log_events: list[LogEvent], cuts: set[int]
) -> None:
    bounds = [0, *sorted(cuts), len(log_events)]
    batches = [log_events[a:b] for a, b in pairwise(bounds)]

    state, entries = apply_batches(batches)

    expected, _ = apply_batches([LOG_EVENTS])
    ignored = ("public_seq", "delayed_at")  # a delay after the close is not public
    assert {n: getattr(state, n) for n in MessageState._fields if n not in ignored} == {
        n: getattr(expected, n) for n in MessageState._fields if n not in ignored
    }
    assert [entry.seq for entry in entries] == list(range(1, len(LOG_EVENTS) + 1))
    public_seqs = [entry.public_seq for entry in entries if entry.public_seq]
    assert public_seqs == list(range(1, len(public_seqs) + 1))


def test_held_mail_that_is_released_waits_like_other_mail() -> None:
    held = MESSAGE.screened()
    held.verdict = VERDICT_HOLD
    before = [LOG_EVENTS[0], log_event_of(held)]
    for review, rank in ((REVIEW_RELEASED, StatusRank.SENT), (REVIEW_REJECTED, StatusRank.HELD)):
        state, entries = apply_batches([[*before, log_event_of(MESSAGE.reviewed(review))]])
        assert state.rank == rank
        assert bool(entries[-1].public_seq) == (review == REVIEW_RELEASED)


def test_held_mail_is_held_until_it_is_closed() -> None:
    screened = MESSAGE.screened()
    screened.verdict = VERDICT_HOLD
    held = log_event_of(screened)

    state, entries = apply_events(
        new_message_state(held), [LOG_EVENTS[0], held], first=set(), now=ACCEPTED_AT
    )
    later, _ = apply_events(state, [log_event_of(MESSAGE.closed())], first=set(), now=ACCEPTED_AT)

    assert (state.rank, entries[-1].public_seq) == (StatusRank.HELD, 1)
    assert later.rank == StatusRank.DELIVERED


def test_held_mail_that_is_assigned_was_released() -> None:
    screened = MESSAGE.screened()
    screened.verdict = VERDICT_HOLD
    held, _ = apply_events(
        new_message_state(LOG_EVENTS[0]),
        [LOG_EVENTS[0], log_event_of(screened)],
        first=(),
        now=ACCEPTED_AT,
    )

    left, _ = apply_events(held, [log_event_of(MESSAGE.assigned(1))], first=(), now=ACCEPTED_AT)
    later, _ = apply_events(left, [log_event_of(MESSAGE.delayed(1))], first=(), now=ACCEPTED_AT)

    assert (held.rank, left.rank, later.rank) == (
        StatusRank.HELD,
        StatusRank.SENT,
        StatusRank.DELAYED,
    )


def test_a_complaint_outranks_a_bounce() -> None:
    state, _ = apply_batches([LOG_EVENTS])

    assert state.rank == StatusRank.COMPLAINED
    assert state.closed == CLOSED_STATE_BOUNCED


def test_the_accept_the_delay_the_close_and_the_complaint_are_public() -> None:
    _, entries = apply_batches([LOG_EVENTS])

    assert [type(entry.event.payload).__name__ for entry in entries if entry.public_seq] == [
        "MessageAccepted",
        "MessageDelayed",
        "MessageClosed",
        "ComplaintReceived",
    ]


@pytest.mark.parametrize(("hours", "public_seqs"), [(1, 0), (3.9, 0), (4, 2), (30, 2)])
def test_a_second_delay_is_public_after_four_hours(hours: float, public_seqs: int) -> None:
    state, _ = apply_events(
        new_message_state(LOG_EVENTS[0]), [LOG_EVENTS[4]], first=(), now=ACCEPTED_AT
    )
    later = ACCEPTED_AT + timedelta(hours=hours)

    _, [entry] = apply_events(state, [log_event_of(MESSAGE.delayed(2))], first=(), now=later)

    assert entry.public_seq == public_seqs


def test_an_accept_that_is_not_the_first_of_its_email_is_not_public() -> None:
    _, [entry] = apply_events(
        new_message_state(LOG_EVENTS[0]), [LOG_EVENTS[0]], first=(), now=ACCEPTED_AT
    )

    assert (entry.seq, entry.public_seq) == (1, 0)


def test_a_message_event_without_email_id_is_invalid() -> None:
    event = MESSAGE.closed()
    event.email_id = ""

    with pytest.raises(ValueError, match="email_id"):
        log_event_of(event)
