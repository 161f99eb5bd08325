"""Batches wait for company under load only."""

import pytest

from kernel import clock
from kernel.pace import Pace


class Time:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def time(monkeypatch: pytest.MonkeyPatch) -> Time:
    made = Time()
    monkeypatch.setattr(clock, "monotonic_s", made)
    return made


def feed(pace: Pace, time: Time, *, per_s: float, for_s: float = 2.0) -> list[float]:
    """Items that come one by one; how long each batch of one would rest."""
    rests = []
    for _ in range(int(per_s * for_s)):
        time.now_s += 1 / per_s
        pace.begin(1)
        rests.append(pace.rest_s)
    return rests


def test_nobody_waits_while_little_comes(time: Time) -> None:
    assert set(feed(Pace(0.1), time, per_s=100)) == {0.0}


def test_batches_gather_under_load_until_it_ends(time: Time) -> None:
    pace = Pace(0.1)
    assert feed(pace, time, per_s=500)[-1] == pytest.approx(0.1)
    time.now_s += 0.03
    assert pace.rest_s == pytest.approx(0.07)
    time.now_s += 0.2
    assert pace.rest_s == 0.0
    time.now_s += 10
    pace.begin(5)
    assert not pace.busy
    assert pace.rest_s == 0.0


def test_a_burst_after_silence_is_no_load(time: Time) -> None:
    pace = Pace(0.1)
    time.now_s += 60
    pace.begin(50)
    assert pace.rest_s == 0.0


def test_without_a_window_there_is_no_rest(time: Time) -> None:
    assert set(feed(Pace(0.0), time, per_s=1000)) == {0.0}
