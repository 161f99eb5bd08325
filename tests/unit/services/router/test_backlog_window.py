"""A backlog yields to mail that is sent as soon as it is due."""

from random import Random

import pytest

from contracts.delivery.v1.events_pb2 import ATTEMPT_OUTCOME_DELIVERED
from contracts.router.v1.results_pb2 import RESULT_KIND_ATTEMPT, Result
from services.router.domain.backlog_window import (
    BASE_PERIOD_S,
    BASE_PERIODS,
    PROMPT_AGE_S,
    PROMPT_S,
    SIZE_MAX,
    SIZE_MIN,
    SIZE_START,
    BacklogWindow,
)
from services.router.domain.drr import ActiveQueue
from services.router.domain.events import timestamp
from services.router.domain.shaping import SiteLimits
from tests.support.memory_cell import MemoryCell, due_message, memory_cell

NOW_S = 1_795_000_000.0
BACKLOG, PROMPT = "b/site/bulk", "a/site"
BASE_MS, TICK_S = 10, 0.05


def result(queue_id: str, assigned_s: float, delay_ms: float) -> Result:
    return Result(
        kind=RESULT_KIND_ATTEMPT,
        queue_id=queue_id,
        count=1,
        outcome=ATTEMPT_OUTCOME_DELIVERED,
        connected=True,
        assigned_at=timestamp(assigned_s),
        start_delay_ms=round(delay_ms),
    )


def yielding(base_ms: float = BASE_MS) -> BacklogWindow:
    """A window that knows the base delay and is used up, while there is prompt mail."""
    window = BacklogWindow()
    window.observe([result(PROMPT, NOW_S - 1, base_ms)], now_s=NOW_S)
    window.record_due([due_message(due_s=NOW_S)], now_s=NOW_S)
    return window


def after_round_trips(
    window: BacklogWindow, delays_ms: list[float], *, trips: int = 1, at_s: float = NOW_S + 1
) -> float:
    for trip in range(trips):
        assigned_s = at_s + trip * 0.1
        window.record_granted(1, 1)
        window.observe(
            [result(PROMPT, assigned_s, ms) for ms in delays_ms], now_s=assigned_s + 0.05
        )
    return window.size


def test_backlogs_fill_what_others_leave_of_the_window() -> None:
    window = yielding()
    assert window.available(3) == SIZE_START - 3
    assert window.available(30) == 1


def test_messages_that_stay_in_flight_do_not_stop_a_backlog() -> None:
    window = yielding()
    stuck, later_s = 500, NOW_S + PROMPT_S
    sent_at: list[float] = []
    for tick in range(200):
        now_s = later_s + tick * TICK_S
        window.observe([result(BACKLOG, one, BASE_MS) for one in sent_at], now_s=now_s)
        window.record_granted(1, available := window.available(stuck))
        sent_at = [now_s] * min(available, 50)
    assert window.available(stuck) >= 50


def test_nothing_is_limited_until_delays_are_known() -> None:
    window = BacklogWindow()
    window.record_due([due_message(due_s=NOW_S)], now_s=NOW_S)
    assert window.available(0) == SIZE_MAX


def test_the_window_grows_while_prompt_mail_is_not_delayed() -> None:
    assert after_round_trips(yielding(), [11, 60, 90]) > SIZE_START
    assert after_round_trips(yielding(), [11, 60, 90], trips=30) == SIZE_MAX


def test_the_window_shrinks_when_all_prompt_mail_is_delayed() -> None:
    assert after_round_trips(yielding(), [60, 70, 90]) == pytest.approx(SIZE_START / 2)
    assert after_round_trips(yielding(), [60, 70, 90], trips=10) == SIZE_MIN


def test_a_window_that_is_not_used_up_does_not_grow() -> None:
    window = yielding()
    window.record_granted(5, 10)
    window.observe([result(PROMPT, NOW_S + 1, 11)] * 3, now_s=NOW_S + 2)
    assert window.size == SIZE_START


def test_a_backlog_alone_may_delay_itself_by_more() -> None:
    assert after_round_trips(yielding(), [100] * 3) < SIZE_START
    later_s = NOW_S + PROMPT_S + 1
    assert after_round_trips(yielding(), [100] * 3, at_s=later_s) > SIZE_START
    assert after_round_trips(yielding(), [600] * 3, at_s=later_s) < SIZE_START


def test_only_differences_of_delays_count_because_clocks_differ() -> None:
    for offset_ms in (-3_000_000, 3_000_000):
        window = yielding(offset_ms + BASE_MS)
        assert after_round_trips(window, [offset_ms + 11] * 3) > SIZE_START
        window = yielding(offset_ms + BASE_MS)
        assert after_round_trips(window, [offset_ms + 60] * 3) < SIZE_START


def test_messages_assigned_before_the_last_change_do_not_change_the_window_again() -> None:
    window = yielding()
    size = after_round_trips(window, [60] * 3)
    window.observe([result(PROMPT, NOW_S + 1, 60)] * 30, now_s=NOW_S + 2)
    assert window.size == size


def test_while_there_is_prompt_mail_the_delays_of_the_backlog_itself_change_nothing() -> None:
    window = yielding()
    [queue] = window.backlog([ActiveQueue.of(BACKLOG, 1)], lambda *_: True, now_s=NOW_S + 1)
    window.observe([result(queue, NOW_S + 1, 500)] * 10, now_s=NOW_S + 1.5)
    assert window.size == SIZE_START


def test_a_base_delay_of_long_ago_is_forgotten() -> None:
    """Otherwise a clock that was set back, or a host that became slower, limits for good."""
    window = yielding()
    for period in range(BASE_PERIODS + 1):
        after_round_trips(window, [300], at_s=NOW_S + 1 + period * BASE_PERIOD_S)
    size = window.size
    at_s = NOW_S + 10 + BASE_PERIODS * BASE_PERIOD_S
    assert after_round_trips(window, [301] * 3, at_s=at_s) > size


def test_the_window_starts_small_whenever_prompt_mail_appears_again() -> None:
    window = yielding()
    after_round_trips(window, [11] * 3, trips=3)
    assert window.size > SIZE_START
    window.record_due([due_message(due_s=NOW_S + 60)], now_s=NOW_S + 60)
    assert window.size == SIZE_START


# ── the whole cell, and an engine that handles messages in turn ─────────────────────────────────


def sent(cell: MemoryCell, now_s: float) -> dict[str, int]:
    sites = [one.row.queue_id.rsplit("/")[-1] for one in cell.tick(now_s)]
    return {site: sites.count(site) for site in sites}


def test_a_backlog_that_yields_is_not_blocked_and_is_read_again_soon() -> None:
    cell = memory_cell(site_limits=SiteLimits(1000))
    cell.add(due_message(9999, site="new", due_s=NOW_S - 10))
    [earlier] = cell.tick(NOW_S - 10)
    cell.answer(earlier, assigned_s=NOW_S - 10, start_delay_ms=BASE_MS)
    for number in range(900):
        cell.add(due_message(number, site="old", due_s=NOW_S - PROMPT_AGE_S - 1))
    cell.add(due_message(9000, site="new", due_s=NOW_S))
    assert sent(cell, NOW_S) == {"old": SIZE_START, "new": 1}
    cell.add(due_message(9001, site="new", due_s=NOW_S + 0.1))
    assert sent(cell, NOW_S + 0.1) == {"old": 1, "new": 1}
    assert not any(row.blocked for row in cell.queues.values())
    assert NOW_S + 0.1 < cell.cell.next_s() <= NOW_S + 0.2
    for one in list(cell.assigned.values()):
        cell.answer(one, assigned_s=NOW_S)
    assert sent(cell, NOW_S + 0.2) == {"old": SIZE_START}


def simulate(
    window: BacklogWindow, *, rate: float, prompt_per_s: float, seconds: float
) -> tuple[list[float], float]:
    """An engine that attempts `rate` messages per second, in the order of assignment, while a
    backlog waits. Returns the delays of prompt mail in seconds, and the share of its time that the
    engine is busy."""
    random, now_s, free_s, busy_s = Random(1), NOW_S, NOW_S, 0.0
    in_flight: list[tuple[float, Result]] = []
    delays: list[float] = []
    while now_s < NOW_S + seconds:
        done = [one for end_s, one in in_flight if end_s <= now_s]
        in_flight = [(end_s, one) for end_s, one in in_flight if end_s > now_s]
        window.observe(done, now_s=now_s)
        queues = [PROMPT] * (random.random() < prompt_per_s * TICK_S)
        if queues:
            window.record_due([due_message(due_s=now_s)], now_s=now_s)
        window.backlog([ActiveQueue.of(BACKLOG, 1)], lambda *_: True, now_s=now_s)
        available = window.available(len(in_flight))
        granted = min(50, available)
        window.record_granted(granted, available)
        queues += [BACKLOG] * granted
        for queue_id in queues:
            began_s = max(free_s, now_s)
            free_s = began_s + 1 / rate
            busy_s += 1 / rate
            delay_s = began_s - now_s + BASE_MS / 1000
            in_flight.append((free_s, result(queue_id, now_s, delay_s * 1000)))
            if queue_id == PROMPT:
                delays.append(delay_s)
        now_s += TICK_S
    return delays, busy_s / seconds


@pytest.mark.parametrize("rate", [50, 200, 900])
def test_prompt_mail_waits_little_beside_a_backlog_that_keeps_the_engine_busy(rate: float) -> None:
    window = BacklogWindow()
    delays, busy = simulate(window, rate=rate, prompt_per_s=8, seconds=60)
    settled = sorted(delays[len(delays) // 10 :])
    assert settled[len(settled) // 2] <= BASE_MS / 1000 + 2 / rate + 0.05
    assert settled[-1] < 0.2
    assert busy > 0.9


@pytest.mark.parametrize("rate", [50, 200, 900])
def test_a_backlog_alone_keeps_the_engine_busy_without_a_long_queue(rate: float) -> None:
    window = BacklogWindow()
    _, busy = simulate(window, rate=rate, prompt_per_s=0, seconds=60)
    assert busy > 0.9
    assert window.size / rate < 1
