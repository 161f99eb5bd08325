"""Shaping rules: what an address of ours may do at a site. Data (shaping.toml), with a linter."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SiteLimits:
    """in_flight_max: assignments without an answer. per_second_max: 0 is no limit.

    connections_max: at once, from one worker; messages_per_connection_max: then it is closed. Both
    0 where delivery's own are to hold.
    """

    in_flight_max: int
    per_second_max: int = 0
    connections_max: int = 0
    messages_per_connection_max: int = 0


@dataclass(frozen=True, slots=True)
class ShapingRule:
    """For sites with exactly these names."""

    sites: tuple[str, ...]
    site_limits: SiteLimits


@dataclass(frozen=True, slots=True)
class Shaping:
    default: SiteLimits
    by_site: dict[str, SiteLimits]

    def of(self, site: str) -> SiteLimits:
        return self.by_site.get(site, self.default)


def load(text: str, *, default: SiteLimits) -> Shaping:
    """Raises ValueError with what the linter says."""
    rules = parse(text, default=default)
    if problems := lint(rules):
        raise ValueError("; ".join(problems))
    return Shaping(default, {site: rule.site_limits for rule in rules for site in rule.sites})


def parse(text: str, *, default: SiteLimits) -> tuple[ShapingRule, ...]:
    return tuple(
        ShapingRule(
            tuple(entry.get("sites", ())),
            SiteLimits(
                entry.get("in_flight_max", default.in_flight_max),
                entry.get("per_second_max", default.per_second_max),
                entry.get("connections_max", default.connections_max),
                entry.get("messages_per_connection_max", default.messages_per_connection_max),
            ),
        )
        for entry in tomllib.loads(text).get("rule", [])
    )


def lint(rules: Sequence[ShapingRule]) -> list[str]:
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
        site_limits = rule.site_limits
        limits = (
            site_limits.per_second_max,
            site_limits.connections_max,
            site_limits.messages_per_connection_max,
        )
        if site_limits.in_flight_max < 1 or min(limits) < 0:
            problems.append(f"rule {number} lets nothing through")
    return problems
