"""Groups keep a distance that grows with them."""

import asyncio

import pytest

from kernel import clock
from services.ingest.api import pace
from services.ingest.api.pace import Pace


@pytest.fixture
def now_s(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The time, in one place."""
    told = [100.0]
    monkeypatch.setattr(clock, "monotonic_s", lambda: told[0])
    return told


async def waits(one: Pace) -> bool:
    turn = asyncio.create_task(one.turn())
    await asyncio.sleep(0)
    try:
        return not turn.done()
    finally:
        turn.cancel()


@pytest.mark.usefixtures("now_s")
def test_who_comes_first_waits_for_nobody() -> None:
    assert not asyncio.run(waits(Pace()))


def test_a_request_after_one_that_came_alone_waits_for_its_gap_only(now_s: list[float]) -> None:
    async def story() -> None:
        one = Pace()
        one.began(1)
        assert await waits(one)
        later = Pace()
        later.began(1)
        now_s[0] += pace.GAP_PER_REQUEST_S * 1.01
        assert not await waits(later)

    asyncio.run(story())


def test_the_gap_after_the_largest_group_is_bounded(now_s: list[float]) -> None:
    one = Pace()
    one.began(10_000)
    now_s[0] += pace.GAP_MAX_S * 1.01
    assert not asyncio.run(waits(one))


@pytest.mark.usefixtures("now_s")
def test_who_waited_goes_on_in_one_moment_and_who_gave_up_takes_nobody_along() -> None:
    async def story() -> None:
        one = Pace()
        one.began(2)
        turns = [asyncio.create_task(one.turn()) for _ in range(3)]
        await asyncio.sleep(0)
        turns[0].cancel()
        done, _ = await asyncio.wait(turns[1:], timeout=10, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.sleep(0)
        assert all(turn.done() for turn in turns)
        assert len(done) == 2
        assert turns[0].cancelled()

    asyncio.run(story())
