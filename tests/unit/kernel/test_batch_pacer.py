"""The delay between batches grows with their size."""

import asyncio

import pytest

from kernel import clock
from kernel.batch_pacer import BUSY_S, BatchPacer


@pytest.fixture
def now_s(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The current time, which a test can change."""
    now = [100.0]
    monkeypatch.setattr(clock, "monotonic_s", lambda: now[0])
    return now


def batches(now_s: list[float], *, per_s: float, for_s: float = 5.0) -> list[int]:
    """The sizes of batches if items arrive evenly and a batch takes no time."""
    pace, waiting, sizes = BatchPacer(0.1), 0, []
    for _ in range(int(per_s * for_s)):
        now_s[0] += 1 / per_s
        waiting += 1
        if pace.wait_s <= 0:
            pace.start_batch(waiting)
            sizes.append(waiting)
            waiting = 0
    return sizes


def test_items_do_not_wait_under_light_load(now_s: list[float]) -> None:
    assert set(batches(now_s, per_s=190)) == {1}


def test_batches_grow_under_load_until_they_are_linger_s_apart(now_s: list[float]) -> None:
    sizes = batches(now_s, per_s=500)

    assert sizes[:2] == [1, 3]
    assert set(sizes[len(sizes) // 2 :]) <= {50, 51}


def test_after_a_large_batch_the_next_item_waits_once(now_s: list[float]) -> None:
    pace = BatchPacer(0.1)
    pace.start_batch(10_000)
    assert pace.wait_s == pytest.approx(0.1)
    now_s[0] += 0.11
    assert pace.wait_s <= 0


def test_it_is_busy_while_batches_are_linger_s_apart(now_s: list[float]) -> None:
    pace = BatchPacer(0.1, busy_per_s=60)
    pace.start_batch(1)
    assert not pace.is_busy
    for _ in range(10):
        now_s[0] += 0.05
        pace.start_batch(6)
    assert pace.is_busy
    now_s[0] += 0.1 + BUSY_S
    assert not pace.is_busy


@pytest.mark.usefixtures("now_s")
def test_a_batch_before_its_turn_makes_the_next_one_wait_longer() -> None:
    pace = BatchPacer(0.1)
    for _ in range(3):
        pace.start_batch(4)
    assert pace.wait_s == pytest.approx(0.06)


@pytest.mark.usefixtures("now_s")
def test_without_linger_items_do_not_wait() -> None:
    pace = BatchPacer(0.0)
    pace.start_batch(1000)
    assert pace.wait_s <= 0


@pytest.mark.usefixtures("now_s")
async def test_waiters_continue_together_and_a_cancelled_one_does_not_affect_the_others() -> None:
    pace = BatchPacer(0.01)
    pace.start_batch(2)
    turns = [asyncio.create_task(pace.wait_turn()) for _ in range(3)]
    await asyncio.sleep(0)
    assert not any(turn.done() for turn in turns)
    turns[0].cancel()
    done, _ = await asyncio.wait(turns[1:], timeout=10, return_when=asyncio.FIRST_COMPLETED)
    await asyncio.sleep(0)
    assert all(turn.done() for turn in turns)
    assert len(done) == 2
    assert turns[0].cancelled()
