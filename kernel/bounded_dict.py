"""A dict of bounded size."""

from collections import OrderedDict
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class BoundedDict(OrderedDict[K, V]):  # whose oldest entry is found without a scan
    """Keeps the newest entries: beyond entries_max, each new entry evicts the oldest one."""

    def __init__(self, entries_max: int) -> None:
        super().__init__()
        self._entries_max = entries_max

    def __setitem__(self, key: K, value: V) -> None:
        self.pop(key, None)  # so that it becomes the newest
        while len(self) >= self._entries_max:
            self.popitem(last=False)
        super().__setitem__(key, value)
