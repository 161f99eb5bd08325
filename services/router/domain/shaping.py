"""Shaping rules: what an address of ours may do at a site. Data (shaping.toml), with a linter."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Shape:
    """in_flight_max: assignments without an answer. per_second_max: 0 is no limit.

    connections_max: at once, from one worker; messages_per_connection_max: then it is closed. Both
    0 where delivery's own are to hold.
    """

    in_flight_max: int
    per_second_max: int = 0
    connections_max: int = 0
    messages_per_connection_max: int = 0


@dataclass(frozen=True, slots=True)
class ShapeRule:
    """For sites with exactly these names."""

    sites: tuple[str, ...]
    shape: Shape


@dataclass(frozen=True, slots=True)
class Shaping:
    default: Shape
    by_site: dict[str, Shape]

    def of(self, site: str) -> Shape:
        return self.by_site.get(site, self.default)


def load(text: str, *, default: Shape) -> Shaping:
    """Raises ValueError with what the linter says."""
    rules = parse(text, default=default)
    if problems := lint(rules):
        raise ValueError("; ".join(problems))
    return Shaping(default, {site: rule.shape for rule in rules for site in rule.sites})


def parse(text: str, *, default: Shape) -> tuple[ShapeRule, ...]:
    return tuple(
        ShapeRule(
            tuple(entry.get("sites", ())),
            Shape(
                entry.get("in_flight_max", default.in_flight_max),
                entry.get("per_second_max", default.per_second_max),
                entry.get("connections_max", default.connections_max),
                entry.get("messages_per_connection_max", default.messages_per_connection_max),
            ),
        )
        for entry in tomllib.loads(text).get("rule", [])
    )


def lint(rules: Sequence[ShapeRule]) -> list[str]:
    """A rule that no site can ever match is an error, and so is one that lets nothing through."""
    problems, seen = [], set[str]()
    for number, rule in enumerate(rules, 1):
        if not rule.sites:
            problems.append(f"rule {number} names no site, so it matches nothing")
        for site in rule.sites:
            if site != site.lower().strip(".") or not site or "/" in site:
                problems.append(f"rule {number}: {site!r} is not the name of a site")
            if site in seen:
                problems.append(f"rule {number}: {site} is taken by an earlier rule")
            seen.add(site)
        shape = rule.shape
        limits = shape.per_second_max, shape.connections_max, shape.messages_per_connection_max
        if shape.in_flight_max < 1 or min(limits) < 0:
            problems.append(f"rule {number} lets nothing through")
    return problems
