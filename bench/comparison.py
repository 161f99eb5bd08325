"""Compare the figures of two commits by name, with the ratio of each pair of turns."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from rich.console import Console

from bench.child import Json
from bench.printing import print_table

COMPARED = ("delivered_per_s", "accept_ms", "first_attempt_ms", "cpu_ms_per_message", "memory_mb")
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Pair:
    """One turn of each side, as its bench writes it with `--json`."""

    new: Mapping[str, Json]
    old: Mapping[str, Json]


@dataclass(frozen=True, slots=True)
class Row:
    figure: str
    new: float  # medians over the turns
    old: float
    ratios: tuple[float | None, ...]  # new / old of each pair; None if old is 0

    @property
    def median(self) -> float | None:
        known = [ratio for ratio in self.ratios if ratio is not None]
        return round(statistics.median(known), 3) if known else None


def in_turn(number: int, sides: Sequence[T]) -> list[T]:
    """The order of the sides in this pair: A B, B A, A B …"""
    return list(sides if number % 2 == 0 else reversed(sides))


def figures(result: Mapping[str, Json]) -> dict[str, float]:
    """The figures of a run, with names such as `cpu_ms_per_message router`."""
    return dict(pair for name in COMPARED for pair in numbers(name, result.get(name)))


def numbers(name: str, result: Json) -> Iterator[tuple[str, float]]:
    if isinstance(result, dict):
        for part, value in result.items():
            yield from numbers(f"{name} {part}", value)
    elif isinstance(result, int | float):
        yield name, float(result)


def compare(pairs: Sequence[Pair]) -> list[Row]:
    """A row for each figure that is in all turns of both sides."""
    new, old = [figures(pair.new) for pair in pairs], [figures(pair.old) for pair in pairs]
    names = [name for name in new[0] if all(name in turn for turn in (*new, *old))]
    return [compare_one(name, [t[name] for t in new], [t[name] for t in old]) for name in names]


def compare_one(name: str, new: Sequence[float], old: Sequence[float]) -> Row:
    ratios = (round(n / o, 3) if o else None for n, o in zip(new, old, strict=True))
    return Row(name, statistics.median(new), statistics.median(old), tuple(ratios))


def as_json(pairs: Sequence[Pair]) -> dict[str, object]:
    return {
        "ratios": {
            row.figure: {"pairs": list(row.ratios), "median": row.median} for row in compare(pairs)
        },
        "pairs": [{"new": pair.new, "old": pair.old} for pair in pairs],
    }


def show(pairs: Sequence[Pair], console: Console) -> None:
    title = "Medians of new and old, new / old of each pair, and its median"
    columns = ("", "new", "old", "new / old", "median")
    print_table(console, title, columns=columns, rows=map(cells, compare(pairs)))


def cells(row: Row) -> list[str]:
    ratios = " ".join(map(spell, row.ratios))
    medians = (f"{value:.{3 if value < 10 else 1}f}" for value in (row.new, row.old))
    return [row.figure, *medians, ratios, spell(row.median)]


def spell(ratio: float | None) -> str:
    return "-" if ratio is None else f"{ratio:.2f}"
