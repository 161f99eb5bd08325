"""What the turns say: medians, ratios, the table for people and the JSON for machines."""

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from rich.console import Console
from rich.table import Table

from bench.load.latency import Summary
from bench.turns import Turn

ENGINE = "engine"


@dataclass(frozen=True, slots=True)
class Report:
    turns: Mapping[str, Sequence[Turn]]  # by contestant
    signature_ms: float  # one RSA-2048 signature, on this machine, in this run

    def per_second(self, name: str) -> float:
        return round(statistics.median(turn.delivered_per_s for turn in self.turns[name]), 1)

    @property
    def peers(self) -> list[str]:
        return [name for name in self.turns if name != ENGINE]

    def ratios(self) -> dict[str, float]:
        """The engine's messages per second over each peer's."""
        if ENGINE not in self.turns:
            return {}
        own = self.per_second(ENGINE)
        rates = {name: self.per_second(name) for name in self.peers}
        return {name: round(own / rate, 2) for name, rate in rates.items() if rate}

    def as_json(self) -> dict[str, object]:
        peers = {name: {"delivered_per_s": self.per_second(name)} for name in self.peers}
        told: dict[str, object] = {}
        if ENGINE in self.turns:
            turns = self.turns[ENGINE]
            first = medians([turn.first_attempt_ms for turn in turns])
            told = {
                "delivered_per_s": self.per_second(ENGINE),
                "accept_ms": medians([turn.steady_accept_ms for turn in turns]),
                "first_attempt_ms": {name: first[name] for name in ("p50", "p99") if name in first},
                "cpu_ms_per_message": medians([turn.cpu_ms for turn in turns]),
                "memory_mb": {
                    "rest": medians([turn.rest_mb for turn in turns]),
                    "load": medians([turn.load_mb for turn in turns]),
                    "peak": medians([turn.peak_mb for turn in turns]),
                },
            }
        return told | {"peers": peers, "ratios": self.ratios()}


def medians(rows: Sequence[Mapping[str, float]]) -> Summary:
    """Name by name, over the rows that have it."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {
        name: round(statistics.median(row[name] for row in rows if name in row), 3)
        for name in names
    }


def show(report: Report, console: Console) -> None:
    console.print(speeds(report))
    if ENGINE in report.turns:
        console.print(latencies(report.turns[ENGINE]))
    console.print(costs(report))
    console.print(memory(report))
    console.print(f"One RSA-2048 signature on this machine: {report.signature_ms:.3f} ms")


def speeds(report: Report) -> Table:
    table = Table(title="Delivered, counted and timed at the sink")
    for column in ("", "msg/s, median", "turns", "accepted", "at sink", "twice", "signed, valid"):
        table.add_column(column, justify="right" if column else "left")
    table.add_column("engine to it", justify="right")
    ratios = report.ratios()
    for name, turns in report.turns.items():
        table.add_row(
            name,
            f"{report.per_second(name):.0f}",
            " ".join(f"{turn.delivered_per_s:.0f}" for turn in turns),
            str(sum(turn.accepted for turn in turns)),
            str(sum(turn.delivered for turn in turns)),
            str(sum(turn.duplicates for turn in turns)),
            signed(turns),
            f"{ratios[name]:.2f} times" if name in ratios else "",
        )
    return table


def signed(turns: Sequence[Turn]) -> str:
    sampled = sum(turn.sampled for turn in turns)
    verified = sum(turn.verified for turn in turns)
    return f"{verified} of {sampled}" if sampled else "unsigned"


def latencies(turns: Sequence[Turn]) -> Table:
    table = Table(title="Latency of the engine, ms, medians over the turns")
    for column in ("", "mean", "p50", "p99"):
        table.add_column(column, justify="right" if column else "left")
    rows = {
        "accept at 100 requests/s": [turn.steady_accept_ms for turn in turns],
        "accept under full load": [turn.accept_ms for turn in turns],
        "accepted to first attempt, idle": [turn.first_attempt_ms for turn in turns],
    }
    for name, samples in rows.items():
        found = medians(samples)
        table.add_row(name, *(f"{found[part]:.1f}" for part in ("mean", "p50", "p99") if found))
    return table


def costs(report: Report) -> Table:
    table = Table(title="CPU ms per message under full load, medians over the turns")
    table.add_column("process")
    spent = {name: medians([turn.cpu_ms for turn in turns]) for name, turns in report.turns.items()}
    for name in spent:
        table.add_column(name, justify="right")
    for process in dict.fromkeys(process for row in spent.values() for process in row):
        cells = (row.get(process) for row in spent.values())
        table.add_row(process, *("" if cell is None else f"{cell:.3f}" for cell in cells))
    return table


def memory(report: Report) -> Table:
    table = Table(title="Memory in MB: at rest / after full load / the process's own peak")
    table.add_column("process")
    cells: dict[str, dict[str, str]] = {}
    for name, turns in report.turns.items():
        table.add_column(name, justify="right")
        parts = [medians(list(rows)) for rows in zip(*map(memory_of, turns), strict=True)]
        for process in dict.fromkeys(process for part in parts for process in part):
            said = " / ".join(f"{part.get(process, 0.0):.0f}" for part in parts)
            cells.setdefault(process, {})[name] = said
    for process, row in cells.items():
        table.add_row(process, *(row.get(name, "") for name in report.turns))
    return table


def memory_of(turn: Turn) -> tuple[Summary, Summary, Summary]:
    return turn.rest_mb, turn.load_mb, turn.peak_mb
