"""The types of measures."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import NamedTuple

from services.shield.domain.parsing import ParsedMessage


class Finding(NamedTuple):
    """The value of a measure, with the text that it found."""

    value: float
    detail: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class NameLists:
    """Names that measures compare with, from `rules.toml`."""

    lists: Mapping[str, frozenset[str]]
    brands: Mapping[str, frozenset[str]]  # name → the domains that it sends from and links to

    def among(self, name: str) -> frozenset[str]:
        return self.lists.get(name, frozenset())


Measure = Callable[[ParsedMessage, NameLists], Finding]
Need = Callable[[ParsedMessage, NameLists], bool]  # if it is false, the measure is zero
NONE = Finding(0)


def count_of(seen: list[str]) -> Finding:
    """The number of findings, with the first as detail."""
    return Finding(len(seen), seen[0]) if seen else NONE
