"""The report of a run: medians and ratios, as tables for people and JSON for programs."""

import statistics
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass

from rich.console import Console

from bench.load.latency import Summary
from bench.printing import print_table
from bench.turns import Turn

ENGINE = "engine"
PARTS = ("mean", "p50", "p99")  # of a latency
Rows = Iterator[Sequence[str]]


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
        summary: dict[str, object] = {}
        if ENGINE in self.turns:
            turns = self.turns[ENGINE]
            first = medians([turn.first_attempt_ms for turn in turns])
            summary = {
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
        every = {name: [asdict(turn) for turn in turns] for name, turns in self.turns.items()}
        return summary | {
            "signature_ms": self.signature_ms,
            "peers": peers,
            "ratios": self.ratios(),
            "turns": every,
        }


def medians(rows: Sequence[Mapping[str, float]]) -> Summary:
    """The median of each name, over the rows that have it."""
    names = dict.fromkeys(name for row in rows for name in row)
    return {
        name: round(statistics.median(row[name] for row in rows if name in row), 3)
        for name in names
    }


def show(report: Report, console: Console) -> None:
    title = "Messages per second delivered to the sink"
    columns: tuple[str, ...] = ("", "median", "turns", "engine / peer")
    print_table(console, title, columns=columns, rows=speeds(report))
    title = "Messages, and a sample of their signatures"
    columns = ("", "accepted", "at sink", "twice", "signed, valid")
    print_table(console, title, columns=columns, rows=counts(report))
    if ENGINE in report.turns:
        title = "Latency of the engine, ms, medians over the turns"
        print_table(console, title, columns=("", *PARTS), rows=latencies(report.turns[ENGINE]))
    title = "CPU ms per message under full load; memory before it, after it and at its peak"
    columns = ("", "process", "CPU ms", "rest MB", "load MB", "peak MB")
    print_table(console, title, columns=columns, rows=costs(report), left=2)


def speeds(report: Report) -> Rows:
    ratios = report.ratios()
    for name, turns in report.turns.items():
        rates = " ".join(f"{turn.delivered_per_s:.0f}" for turn in turns)
        ratio = f"{ratios[name]:.2f} times" if name in ratios else ""
        yield name, f"{report.per_second(name):.0f}", rates, ratio


def counts(report: Report) -> Rows:
    for name, turns in report.turns.items():
        numbers = [(turn.accepted, turn.delivered, turn.duplicates) for turn in turns]
        yield (
            name,
            *(str(sum(column)) for column in zip(*numbers, strict=True)),
            signature_cell(turns),
        )


def signature_cell(turns: Sequence[Turn]) -> str:
    sampled = sum(turn.sampled for turn in turns)
    verified = sum(turn.verified for turn in turns)
    return f"{verified} of {sampled}" if sampled else "unsigned"


def latencies(turns: Sequence[Turn]) -> Rows:
    rows = {
        "accept at 100 requests/s": [turn.steady_accept_ms for turn in turns],
        "accept under full load": [turn.accept_ms for turn in turns],
        "accepted to first attempt, idle": [turn.first_attempt_ms for turn in turns],
    }
    for name, samples in rows.items():
        yield name, *cells(medians(samples), PARTS, digits=1)


def costs(report: Report) -> Rows:
    for name, turns in report.turns.items():
        spent = medians([turn.cpu_ms for turn in turns])
        held = [medians(list(rows)) for rows in zip(*map(memory_of, turns), strict=True)]
        for process in dict.fromkeys(process for part in (spent, *held) for process in part):
            memory = (cell for part in held for cell in cells(part, [process], digits=0))
            yield name, process, *cells(spent, [process], digits=3), *memory


def cells(found: Mapping[str, float], names: Sequence[str], *, digits: int) -> list[str]:
    return [f"{found[name]:.{digits}f}" if name in found else "" for name in names]


def memory_of(turn: Turn) -> tuple[Summary, Summary, Summary]:
    return turn.rest_mb, turn.load_mb, turn.peak_mb
