"""Timelines are in causal order, in whatever order events were recorded."""

from datetime import timedelta

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from kernel.ids import uuid7_text
from services.events.domain.log_event import log_event_of
from services.events.domain.timeline import TimelineEntry, order_timeline
from tests.support.message_events import ACCEPTED_AT, DEFERRED, MessageEvents

MESSAGE = MessageEvents()
LIFE: list[Message] = [
    MESSAGE.accepted(),
    MESSAGE.screened(),
    MESSAGE.assigned(1),
    MESSAGE.attempted(1, reply=DEFERRED),
    MESSAGE.delayed(1),
    MESSAGE.assigned(2),
    MESSAGE.attempted(2),
    MESSAGE.closed(),
    MESSAGE.complained(),
]


def entry(event: Message, *, recorded_s: float = 9000.0) -> TimelineEntry:
    at = ACCEPTED_AT + timedelta(seconds=recorded_s)
    return TimelineEntry(log_event_of(event), uuid7_text(), 1, 0, at)


@given(st.permutations(LIFE))
def test_events_are_in_causal_order_whatever_the_order_of_recording(events: list[Message]) -> None:
    entries = order_timeline(entry(event) for event in events)

    assert [one.event.payload for one in entries] == LIFE
    assert [one.at for one in entries] == sorted(one.at for one in entries)


def test_an_event_without_a_time_precedes_its_consequence() -> None:
    entries = order_timeline([entry(MESSAGE.assigned(1)), entry(MESSAGE.attempted(1))])

    assert entries[0].at <= entries[1].at == ACCEPTED_AT + timedelta(seconds=300)


@pytest.mark.parametrize("seconds", [253402343999, -62135600400])
def test_an_out_of_range_time_does_not_break_the_timeline(seconds: int) -> None:
    strange = MESSAGE.attempted(1)
    strange.attempted_at.CopyFrom(Timestamp(seconds=seconds))

    entries = order_timeline([entry(MESSAGE.accepted()), entry(strange)])

    assert [one.event.kind.name for one in entries] == ["ACCEPTED", "ATTEMPTED"]


def test_the_messages_of_an_email_share_one_timeline() -> None:
    other = MessageEvents("bob@example.net", email_id=MESSAGE.email_id)

    entries = order_timeline(
        [entry(MESSAGE.closed()), entry(other.accepted()), entry(MESSAGE.accepted())]
    )

    assert [one.event.kind.name for one in entries] == ["ACCEPTED", "ACCEPTED", "CLOSED"]
