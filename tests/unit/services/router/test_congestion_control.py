"""The window for bulk mail shrinks while a little express mail meets congestion."""

from math import inf

import pytest

from contracts.router.v1.results_pb2 import Result
from services.router.domain.congestion_control import (
    EXPRESS_S,
    FIRST_WINDOW,
    INTERVAL_S,
    SPARSE_PER_S,
    WINDOW_MIN,
    BulkCongestionWindow,
)

MARKED, UNMARKED = Result(congested=True), Result()
TICK_S = 0.1


def run(
    control: BulkCongestionWindow,
    for_s: float,
    *,
    from_s: float,
    express: float = 1.0,
    congested: bool = True,
) -> list[float]:
    """The window after each tick. express: messages per tick; below 1, one in some ticks."""
    windows, due = [], 1.0
    for tick in range(round(for_s / TICK_S)):
        now_s = from_s + tick * TICK_S
        control.record_results([MARKED if congested else UNMARKED], now_s=now_s)
        control.record_assigned(int(due), now_s=now_s)
        due = due % 1 + express
        windows.append(control.window)
    return windows


def test_without_express_mail_nothing_is_held_back() -> None:
    control = BulkCongestionWindow()
    control.record_results([MARKED], now_s=10.0)
    control.record_assigned(0, now_s=10.0)
    assert control.window == inf


def test_without_congestion_nothing_is_held_back() -> None:
    assert set(run(BulkCongestionWindow(), 5, from_s=10, congested=False)) == {inf}


def test_the_first_express_message_that_meets_congestion_shrinks_the_window_at_once() -> None:
    control = BulkCongestionWindow()
    control.record_assigned(0, now_s=10.0)
    control.record_results([UNMARKED, MARKED], now_s=10.1)
    control.record_assigned(1, now_s=10.1)
    assert control.window == FIRST_WINDOW


def test_it_shrinks_to_a_minimum_while_there_is_congestion_and_grows_without() -> None:
    control = BulkCongestionWindow()
    windows = run(control, 5, from_s=10)
    assert windows == sorted(windows, reverse=True)
    assert windows[-1] == WINDOW_MIN
    grown = run(control, 30, from_s=15, congested=False)
    assert grown[5:] == sorted(grown[5:])
    assert FIRST_WINDOW < grown[-1] < inf


def test_it_is_adjusted_once_per_interval() -> None:
    control = BulkCongestionWindow()
    windows = run(control, 3, from_s=10)
    assert len(set(windows)) <= 3 / INTERVAL_S + 1


@pytest.mark.parametrize("express", [0.0, 2 * SPARSE_PER_S * TICK_S])
def test_it_opens_when_express_mail_ends_or_is_a_load_of_its_own(express: float) -> None:
    control = BulkCongestionWindow()
    run(control, 3, from_s=10)
    assert run(control, EXPRESS_S + 1, from_s=13, express=express)[-1] == inf
