"""A timeline reads by cause, however its facts were recorded."""

from datetime import timedelta

import pytest
from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import given
from hypothesis import strategies as st

from kernel.ids import uuid7_text
from services.events.domain.log_event import log_event_of
from services.events.domain.timeline import TimelineEntry, order_timeline
from tests.support.message_events import ACCEPTED_AT, LATER, MessageEvents

MESSAGE = MessageEvents()
LIFE: list[Message] = [
    MESSAGE.accepted(),
    MESSAGE.screened(),
    MESSAGE.assigned(1),
    MESSAGE.attempted(1, reply=LATER),
    MESSAGE.delayed(1),
    MESSAGE.assigned(2),
    MESSAGE.attempted(2),
    MESSAGE.closed(),
    MESSAGE.complained(),
]


def line(event: Message, *, recorded_s: float = 9000.0) -> TimelineEntry:
    at = ACCEPTED_AT + timedelta(seconds=recorded_s)
    return TimelineEntry(log_event_of(event), uuid7_text(), 1, 0, at)


@given(st.permutations(LIFE))
def test_facts_stand_by_cause_whatever_the_order_of_recording(events: list[Message]) -> None:
    lines = order_timeline(line(event) for event in events)

    assert [one.event.payload for one in lines] == LIFE
    assert [one.at for one in lines] == sorted(one.at for one in lines)


def test_a_fact_without_a_time_of_its_own_lies_before_what_it_caused() -> None:
    lines = order_timeline([line(MESSAGE.assigned(1)), line(MESSAGE.attempted(1))])

    assert lines[0].at <= lines[1].at == ACCEPTED_AT + timedelta(seconds=300)


@pytest.mark.parametrize("seconds", [253402343999, -62135600400])
def test_a_time_that_no_calendar_has_breaks_no_timeline(seconds: int) -> None:
    strange = MESSAGE.attempted(1)
    strange.attempted_at.CopyFrom(Timestamp(seconds=seconds))

    lines = order_timeline([line(MESSAGE.accepted()), line(strange)])

    assert [one.event.kind.name for one in lines] == ["ACCEPTED", "ATTEMPTED"]


def test_the_messages_of_an_email_share_one_timeline() -> None:
    other = MessageEvents("bob@example.net", email_id=MESSAGE.email_id)

    lines = order_timeline(
        [line(MESSAGE.closed()), line(other.accepted()), line(MESSAGE.accepted())]
    )

    assert [one.event.kind.name for one in lines] == ["ACCEPTED", "ACCEPTED", "CLOSED"]
