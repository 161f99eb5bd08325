"""When bulk mail leaves room for express mail, and when it is told to the router that it waits."""

import pytest

from kernel import clock
from kernel.batch_pacer import EXPRESS_BUSY_PER_S
from services.delivery.loops.congestion import (
    CONGESTED_AFTER_S,
    CONGESTED_S,
    EXPRESS_S,
    WorkerCongestion,
)


@pytest.fixture
def now_s(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(clock, "monotonic_s", lambda: now[0])
    return now


def express(congestion: WorkerCongestion, now_s: list[float], *, per_s: float) -> bool:
    for _ in range(int(3 * per_s)):
        now_s[0] += 1 / per_s
        congestion.record_express()
    return congestion.is_express_sparse


def test_a_little_express_mail_is_sparse_until_it_ends(now_s: list[float]) -> None:
    congestion = WorkerCongestion()
    assert not congestion.is_express_sparse
    assert express(congestion, now_s, per_s=10)
    now_s[0] += EXPRESS_S / 2
    assert congestion.is_express_sparse
    now_s[0] += EXPRESS_S
    assert not congestion.is_express_sparse


def test_much_express_mail_is_a_load_of_its_own(now_s: list[float]) -> None:
    congestion = WorkerCongestion()
    assert not express(congestion, now_s, per_s=2 * EXPRESS_BUSY_PER_S)
    now_s[0] += 2
    assert express(congestion, now_s, per_s=10), "once it is little again"


def test_a_process_is_congested_for_a_moment_after_bulk_mail_has_waited(
    now_s: list[float],
) -> None:
    congestion = WorkerCongestion()
    congestion.record_bulk_wait(CONGESTED_AFTER_S / 2)
    assert not congestion.is_congested
    congestion.record_bulk_wait(CONGESTED_AFTER_S * 2)
    assert congestion.is_congested
    now_s[0] += CONGESTED_S
    assert not congestion.is_congested
