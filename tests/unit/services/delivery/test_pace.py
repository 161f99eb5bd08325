"""The pace at the wire holds in every second, whatever has accumulated."""

from bisect import bisect_left
from math import ceil

from hypothesis import given
from hypothesis import strategies as st

from services.delivery.domain.pace import PaceLimiter


def sent_s(pace: PaceLimiter, *, count: int, late_s: list[float]) -> list[float]:
    """When messages that all wait are sent; each may be late."""
    now_s, sent = 1000.0, list[float]()
    for number in range(count):
        now_s += pace.delay_s(now_s) + (late_s[number % len(late_s)] if late_s else 0.0)
        if pace.delay_s(now_s) == 0:
            pace.spend(now_s)
            sent.append(now_s)
    return sent


@given(
    per_second=st.floats(0.5, 300),
    late_s=st.lists(st.sampled_from([0.0, 0.0, 0.001, 0.3, 2.0]), max_size=20),
)
def test_no_second_has_more_messages_than_the_pace(per_second: float, late_s: list[float]) -> None:
    pace = PaceLimiter()
    pace.per_second = per_second
    sent = sent_s(pace, count=400, late_s=late_s)
    for number, first in enumerate(sent):  # in order, as the clock only goes forward
        assert bisect_left(sent, first + 1 - 1e-6) - number <= ceil(per_second)


def test_four_hundred_messages_that_waited_for_a_server_leave_at_their_pace() -> None:
    pace = PaceLimiter()
    pace.per_second = 20
    sent = sent_s(pace, count=400, late_s=[])
    assert sent[-1] - sent[0] > 19


def test_without_a_pace_nothing_waits() -> None:
    pace = PaceLimiter()
    pace.spend(1000.0)
    assert pace.delay_s(1000.0) == 0
