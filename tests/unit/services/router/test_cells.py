"""Shares of cells in limits of all cells, and what may move together."""

import random
from collections.abc import Sequence

import pytest

from contracts.router.v1.directory_pb2 import Pool
from services.router.api.cells import check_divisible
from services.router.api.pools import PoolConflict, linked_pools
from services.router.domain.cells import CellDirectory, CellShare
from services.router.domain.ledger import LimitScope, ScopeKind
from services.router.domain.limits import NO_LIMITS, Limits
from services.router.domain.operator_limits import LimitsChanged
from tests.support.memory_cell import NOW_S, due_message, memory_cell


def shares(count: int) -> list[CellShare]:
    return [CellShare(position, count) for position in range(count)]


@pytest.mark.parametrize("count", [1, 2, 3, 7])
@pytest.mark.parametrize("limit", [0, 7, 100, 101])
def test_shares_add_up_to_the_limit(count: int, limit: int) -> None:
    each = [one.of(limit) for one in shares(count)]
    assert sum(each) == limit
    assert max(each) - min(each) <= 1
    limits = Limits(per_minute=limit, in_flight_max=limit)
    assert sum(one.of_limits(limits).per_minute for one in shares(count)) == limit
    assert sum(one.of_limits(limits).in_flight_max for one in shares(count)) == limit


def test_a_cell_without_a_share_sends_nothing() -> None:
    """0 would be no limit."""
    site = Limits(per_hour=1)
    cell = memory_cell("e1", policies=[AtSite(site)])
    cell.cell.share.position, cell.cell.share.count = 1, 2
    cell.add(due_message(1))
    assert not cell.tick(NOW_S)
    cell.cell.share.position = 0
    cell.cell.on_policies_changed(now_s=NOW_S + 1)
    cell.tick(NOW_S + 1)
    assert len(cell.assigned) + len(cell.tick(NOW_S + 2)) == 1


class AtSite:
    kinds = (ScopeKind.SITE,)
    reason = ""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def limits_of(self, _: LimitScope, __: float) -> Limits:
        return self._limits

    def suspension_of(self, _: LimitScope, __: float) -> None:
        return None


def test_the_usage_that_a_new_cell_begins_with_keeps_all_within_the_limit() -> None:
    """See ADD_COUNTERS: whatever the others have used, and however all use their new shares."""
    rng = random.Random(1)
    for _ in range(2_000):
        count, limit = rng.randrange(1, 6), rng.randrange(6, 60)
        used = [rng.randint(0, one.of(limit)) for one in shares(count)]
        assert most_used([*used, max(used)], shares(count + 1), limit) <= limit


def most_used(used: Sequence[int], divided: Sequence[CellShare], limit: int) -> int:
    """The last cell has not sent what it begins with."""
    ends = [max(one, share.of(limit)) for one, share in zip(used, divided, strict=True)]
    return sum(ends) - used[-1]


def test_limits_of_all_cells_are_at_least_their_number() -> None:
    def change(key: str, **limits: int) -> LimitsChanged:
        scope = LimitScope.of(key)
        assert scope
        return LimitsChanged(scope, NO_LIMITS._replace(**limits), NOW_S)  # type: ignore[arg-type]

    check_divisible(change("site/yahoo", per_hour=2, per_second=2), 2)
    check_divisible(change("site/yahoo"), 2)
    check_divisible(change("pool/p", per_hour=1), 2)
    with pytest.raises(PoolConflict, match="at least 3, and not 2"):
        check_divisible(change("site/yahoo", per_hour=300, per_second=2), 3)
    with pytest.raises(PoolConflict, match="engine/ is divided among 2 cells"):
        check_divisible(change("engine/", in_flight_max=1), 2)


def test_pools_move_with_those_that_mail_overflows_to_or_from() -> None:
    overflow = {"a": "b", "b": "", "c": "b", "d": "", "e": "d"}
    pools = [Pool(pool_id=one, overflow_pool_id=other) for one, other in overflow.items()]
    assert linked_pools(pools, "a") == ["a", "b", "c"]
    assert linked_pools(pools, "d") == ["d", "e"]
    assert linked_pools([Pool(pool_id="x")], "x") == ["x"]


def test_a_directory_knows_the_cells_of_tenants() -> None:
    directory = CellDirectory({"t1": "p1", "t2": "p2"}.__getitem__)
    assert directory.cell_of("t1") == "default"
    directory.cells = {"p2": "west"}
    assert [directory.cell_of(one) for one in ("t1", "t2")] == ["default", "west"]
