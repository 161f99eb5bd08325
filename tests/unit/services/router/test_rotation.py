"""The sources of a pool at one site: their capacity together, at a bounded cost."""

from collections.abc import Callable

from services.router.domain.egress import CHECKED_MAX, EgressSource, SourceRotation
from services.router.domain.limits import Capacity
from tests.support.memory_cell import sources

NOW_S = 1_000.0


class Sources:
    """Sources with a capacity each; they are counted as they are checked."""

    def __init__(self, number: int, capacity_of: Callable[[int], int]) -> None:
        self.rotation = SourceRotation.of(sources(*map(str, range(number))))
        self.checked = 0
        self._capacity_of = capacity_of

    def __call__(self, source: EgressSource) -> Capacity:
        self.checked += 1
        return Capacity(self._capacity_of(int(source.egress_id)), NOW_S + 100)

    def capacity(self, wanted: int) -> Capacity:
        return self.rotation.capacity(self, wanted=wanted, now_s=NOW_S)


def test_a_few_sources_are_added_up_exactly() -> None:
    some = Sources(3, lambda number: number)

    assert some.capacity(wanted=500).available == 0 + 1 + 2
    assert some.checked == 3


def test_of_a_thousand_sources_some_stand_for_all() -> None:
    many = Sources(1_000, lambda _: 2)

    assert many.capacity(wanted=500).available == 500
    assert many.checked == CHECKED_MAX
    assert many.capacity(wanted=10_000).available == 2_000


def test_the_next_look_continues_behind_exhausted_sources() -> None:
    """Until all were checked, the pool may have capacity at any time."""
    many = Sources(100, lambda number: 3 if number == 70 else 0)

    looks = [many.capacity(wanted=500) for _ in range(5)]

    assert [one.available for one in looks] == [0, 0, 0, 0, 3 + 3 * 20 // CHECKED_MAX]
    assert all(one.available_at_s == NOW_S for one in looks[:4])


def test_an_exhausted_pool_waits_for_the_first_release() -> None:
    none = Sources(CHECKED_MAX, lambda _: 0)

    assert none.capacity(wanted=1).available_at_s == NOW_S + 100
    none.capacity(wanted=1)
    assert none.checked == CHECKED_MAX
