"""When deltas are folded."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, cast

import pytest

from kernel import clock
from kernel.lease import Lease
from services.events.loops.figures import BATCH, DELTAS_PER_S, REST_MAX_S, RollUpFolding
from services.events.store.figures import folding


class HeldLease:
    fence = 1

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        yield


class Deltas:
    """waiting: how many are not folded. now_s: the time."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.waiting, self.now_s, self.folds = 0, 100.0, 0
        monkeypatch.setattr(folding, "fold_deltas", self.fold)
        monkeypatch.setattr(clock, "monotonic_s", lambda: self.now_s)

    async def fold(self, _: Any, limit: int) -> int:  # noqa: ANN401 - a transaction
        folded = min(limit, self.waiting)
        self.waiting -= folded
        self.folds += 1
        return folded


@pytest.mark.parametrize(
    ("waiting", "rest_s"),
    [(0, 0.0), (DELTAS_PER_S // 2, 0.5), (DELTAS_PER_S * 3, 3.0), (BATCH * 2 + 1, REST_MAX_S)],
)
async def test_the_loop_folds_all_and_rests_by_how_many(
    monkeypatch: pytest.MonkeyPatch, waiting: int, rest_s: float
) -> None:
    deltas, loop = Deltas(monkeypatch), RollUpFolding(cast(Lease, HeldLease()))
    deltas.waiting = waiting
    await loop.run_once()
    assert (deltas.waiting, deltas.folds) == (0, waiting // BATCH + 1)
    deltas.waiting = 1
    deltas.now_s += max(rest_s - 0.01, 0)
    await loop.run_once()
    assert deltas.waiting == (1 if rest_s else 0)
    deltas.now_s += 0.02
    await loop.run_once()
    assert deltas.waiting == 0
