"""Shaping rules: limits of an egress source at given sites. They are data (shaping.toml), with a
linter."""

import tomllib
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SiteLimits:
    """in_flight_max: assignments without an attempt result. per_second_max: 0 means no limit.

    connections_max: open connections of one worker. messages_per_connection_max: messages after
    which a connection is closed. If one is 0, delivery's setting applies.
    """

    in_flight_max: int
    per_second_max: int = 0
    connections_max: int = 0
    messages_per_connection_max: int = 0


@dataclass(frozen=True, slots=True)
class ShapingRule:
    """Limits for sites with exactly these names."""

    sites: tuple[str, ...]
    site_limits: SiteLimits


@dataclass(frozen=True, slots=True)
class Shaping:
    default: SiteLimits
    by_site: dict[str, SiteLimits]

    def of(self, site: str) -> SiteLimits:
        return self.by_site.get(site, self.default)


def load_shaping(text: str, *, default: SiteLimits) -> Shaping:
    """Raises ValueError with all problems that the linter has found."""
    rules = parse_rules(text, default=default)
    if problems := lint_rules(rules):
        raise ValueError("; ".join(problems))
    return Shaping(default, {site: rule.site_limits for rule in rules for site in rule.sites})


def parse_rules(text: str, *, default: SiteLimits) -> tuple[ShapingRule, ...]:
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


def lint_rules(rules: Sequence[ShapingRule]) -> list[str]:
    """Reports rules that no site can match, and rules that admit no message."""
    problems, seen = [], set[str]()
    for number, rule in enumerate(rules, 1):
        if not rule.sites:
            problems.append(f"rule {number} names no site. List at least one in `sites`.")
        for site in rule.sites:
            if site != site.lower().strip(".") or not site or "/" in site:
                problems.append(f"rule {number}: invalid site name {site!r}. Use lower case.")
            if site in seen:
                problems.append(f"rule {number}: site {site!r} has an earlier rule. Merge them.")
            seen.add(site)
        site_limits = rule.site_limits
        limits = (
            site_limits.per_second_max,
            site_limits.connections_max,
            site_limits.messages_per_connection_max,
        )
        if site_limits.in_flight_max < 1 or min(limits) < 0:
            problems.append(
                f"rule {number}: invalid limits. Set in_flight_max to at least 1, and"
                " the others to at least 0."
            )
    return problems
