"""Warmup ramps: how much a new egress source may send, stage by stage. They are data (ramps.toml),
with a linter."""

import tomllib
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

HOURS_PER_DAY = 24
UNITS = ("hour", "day")


@dataclass(frozen=True, slots=True)
class Ramp:
    """stages: messages per hour or day, by `per`."""

    name: str
    per: str
    stages: tuple[int, ...]
    source: str

    def per_day(self, stage: int) -> int:
        return self.stages[stage] * (HOURS_PER_DAY if self.per == "hour" else 1)

    def stage_within(self, per_day: float) -> int:
        """The last stage that allows no more than this per day; at least the first."""
        days = [self.per_day(stage) for stage in range(len(self.stages))]
        return max(bisect_right(days, per_day) - 1, 0)


def parse_ramps(text: str) -> Mapping[str, Ramp]:
    """Ramps by name. Raises ValueError with all problems that the linter has found."""
    ramps = [
        Ramp(
            str(entry.get("name", "")),
            str(entry.get("per", "")),
            tuple(entry.get("stages", ())),
            str(entry.get("source", "")),
        )
        for entry in tomllib.loads(text).get("ramp", [])
    ]
    if problems := lint_ramps(ramps):
        raise ValueError("; ".join(problems))
    return {ramp.name: ramp for ramp in ramps}


def lint_ramps(ramps: Sequence[Ramp]) -> list[str]:
    problems, seen = [], set[str]()
    for number, ramp in enumerate(ramps, 1):
        where = f"ramp {ramp.name or number}"
        if not ramp.name or ramp.name in seen:
            problems.append(f"{where}: its name is missing or taken. Set another `name`.")
        if ramp.per not in UNITS:
            problems.append(f"{where}: `per` must be hour or day, not {ramp.per!r}.")
        if not ramp.source:
            problems.append(f"{where}: set `source` to where its figures are from.")
        if not ramp.stages or ramp.stages[0] < 1:
            problems.append(f"{where}: set `stages` to positive numbers.")
        if any(later <= earlier for earlier, later in pairwise(ramp.stages)):
            problems.append(f"{where}: each stage must allow more than the one before.")
        seen.add(ramp.name)
    return problems
