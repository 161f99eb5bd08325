"""When each of many things is to be checked again, spread in time."""

import random
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

from kernel import clock

K = TypeVar("K", bound=Hashable)
SPREAD = 0.1  # of the interval, so that what began together does not stay together


class CheckSchedule(Generic[K]):
    """What is new is due at once."""

    def __init__(self) -> None:
        self._due_s: dict[K, float] = {}

    def clear(self) -> None:
        self._due_s = {}

    def select(self, keys: Iterable[K], count_max: int) -> list[K]:
        """Those of the keys that are due, the longest overdue first. Forgets all others."""
        self._due_s = {key: self._due_s.get(key, 0.0) for key in keys}
        now_s = clock.monotonic_s()
        due = [key for key, due_s in self._due_s.items() if due_s <= now_s]
        return sorted(due, key=lambda key: self._due_s[key])[:count_max]

    def put_off(self, key: K, wait_s: float) -> None:
        self._due_s[key] = clock.monotonic_s() + wait_s * random.uniform(1 - SPREAD, 1.0)
