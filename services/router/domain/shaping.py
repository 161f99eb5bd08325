"""Shaping rules: limits of an egress source at given sites. They are data (shaping.toml), with a
linter. An operator's rules change single figures of the shipped ones.

A rule names sites as `mail.mx.site_of` returns them, so that it applies to a provider only where
every MX host is the provider's.
"""

import tomllib
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from functools import lru_cache
from importlib.resources import files

from mail import mx
from services.router.domain.limits import Limits


@dataclass(frozen=True, slots=True)
class SiteLimits:
    """in_flight_max: assignments without an attempt result. per_second_max and the other rates: 0
    means no limit.

    connections_max: open connections of one worker. messages_per_connection_max: messages after
    which a connection is closed. If one is 0, delivery's setting applies.
    """

    in_flight_max: int
    per_second_max: int = 0
    connections_max: int = 0
    messages_per_connection_max: int = 0
    per_minute_max: int = 0
    per_hour_max: int = 0
    per_day_max: int = 0

    def limits(self) -> Limits:
        return Limits(
            self.per_second_max,
            self.per_minute_max,
            self.per_hour_max,
            self.per_day_max,
            self.in_flight_max,
        )


FIGURES = tuple(field.name for field in fields(SiteLimits))


@dataclass(frozen=True, slots=True)
class ShapingRule:
    """Limits for sites with exactly these names. sources: of each published figure, by its name; a
    figure without a source is ours."""

    sites: tuple[str, ...]
    figures: Mapping[str, int]
    sources: Mapping[str, str]
    unknown: tuple[str, ...] = ()  # keys that mean nothing

    def limits(self, base: SiteLimits) -> SiteLimits:
        return replace(base, **self.figures)


@dataclass(frozen=True, slots=True)
class ShapingRules:
    default: SiteLimits
    by_site: dict[str, SiteLimits]

    def of(self, site: str) -> SiteLimits:
        return self.by_site.get(site, self.default)


def parse_shaping(
    text: str,
    *,
    default: SiteLimits,
    operator_text: str = "",
    static_sites: Collection[str] = (),
) -> ShapingRules:
    """Raises ValueError with all problems that the linter has found."""
    rules, own = parse_rules(text), parse_rules(operator_text)
    if problems := [*lint_rules(rules), *lint_rules(own, static_sites=static_sites)]:
        raise ValueError("; ".join(problems))
    by_site: dict[str, SiteLimits] = {}
    for rule in (*rules, *own):
        for site in rule.sites:
            by_site[site] = rule.limits(by_site.get(site, default))
    return ShapingRules(default, by_site)


def parse_rules(text: str) -> tuple[ShapingRule, ...]:
    return tuple(
        ShapingRule(
            tuple(entry.get("sites", ())),
            {name: int(value) for name, value in entry.items() if name in FIGURES},
            dict(entry.get("sources", {})),
            tuple(sorted(entry.keys() - {"sites", "sources", *FIGURES})),
        )
        for entry in tomllib.loads(text).get("rule", [])
    )


def lint_rules(rules: Sequence[ShapingRule], *, static_sites: Collection[str] = ()) -> list[str]:
    """Reports rules that no site can match, and rules that admit no message. static_sites: names
    that the operator's static routes give."""
    problems, seen = [], set[str]()
    for number, rule in enumerate(rules, 1):
        if not rule.sites:
            problems.append(f"rule {number} names no site. List at least one in `sites`.")
        for site in rule.sites:
            if problem := lint_site(site, seen, static_sites):
                problems.append(f"rule {number}: {problem}")
            seen.add(site)
        problems += [f"rule {number}: {problem}" for problem in lint_figures(rule)]
    return problems


def lint_site(site: str, seen: Collection[str], static_sites: Collection[str]) -> str:
    if site != site.lower().strip(".") or not site or "/" in site:
        return f"invalid site name {site!r}. Use lower case."
    if site in seen:
        return f"site {site!r} has an earlier rule. Merge them."
    if "." not in site and site not in provider_sites() and site not in static_sites:
        return f"no site is named {site!r}. Use a name of mail/sites.toml or an MX domain."
    return ""


def lint_figures(rule: ShapingRule) -> list[str]:
    problems = [f"{name!r} is no figure. Use {', '.join(FIGURES)}." for name in rule.unknown]
    problems += [
        f"the source of {name!r} has no figure. Set both or none."
        for name in sorted(rule.sources.keys() - rule.figures.keys())
    ]
    if rule.figures.get("in_flight_max", 1) < 1 or min(rule.figures.values(), default=0) < 0:
        problems.append(
            "invalid limits. Set in_flight_max to at least 1, and the others to at least 0."
        )
    return problems


@lru_cache(maxsize=1)
def provider_sites() -> frozenset[str]:
    """The sites of mail/sites.toml."""
    rules = mx.parse_rules((files("mail") / "sites.toml").read_text("utf-8"))
    return frozenset(rule.site for rule in rules)
