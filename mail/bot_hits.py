"""Hits by machines: prefetching proxies, link scanners, robots (RFC 9110 §10.1.5, §9.3.2).

The rules are data (machines.toml). A machine's hit is stored as an event but not counted in the
statistics.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

import re2

OPEN, CLICK = "open", "click"


@dataclass(frozen=True, slots=True)
class TrackingHit:
    """One request for a pixel or a link.

    `after_s`: seconds since the delivery, None if unknown. `links_within_1s`: distinct links of the
    message that were followed within one second, including this one.
    """

    kind: str
    method: str
    user_agent: str
    after_s: float | None = None
    links_within_1s: int = 1
    honeypot: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """A rule matches a hit if all its conditions that are not None match."""

    reason: str
    kind: str | None
    method: str | None
    user_agent: Any
    within_s: float | None
    links_within_1s: int | None
    honeypot: bool
    example: str | None

    def matches(self, hit: TrackingHit) -> bool:
        """Whether the rule matches the hit."""
        soon = self.within_s is None or (hit.after_s is not None and hit.after_s < self.within_s)
        agent = self.user_agent is None or self.user_agent.search(_searchable(hit.user_agent))
        return (
            self.kind in (None, hit.kind)
            and self.method in (None, hit.method.upper())
            and soon
            and bool(agent)
            and hit.links_within_1s >= (self.links_within_1s or 0)
            and (hit.honeypot or not self.honeypot)
        )


def _searchable(user_agent: str) -> str:
    return user_agent[:500].lower().encode("utf-8", "replace").decode("utf-8")


def parse_rules(text: str) -> tuple[Rule, ...]:
    """The rules of a machines.toml, in order."""
    return tuple(_rule(entry) for entry in tomllib.loads(text)["rule"])


def _rule(entry: Mapping[str, Any]) -> Rule:
    pattern = entry.get("user_agent")
    return Rule(
        reason=entry["reason"],
        kind=entry.get("kind"),
        method=entry.get("method"),
        user_agent=None if pattern is None else re2.compile(pattern),
        within_s=entry.get("within_s"),
        links_within_1s=entry.get("links_within_1s"),
        honeypot=entry.get("honeypot", False),
        example=entry.get("example"),
    )


@lru_cache(maxsize=1)
def _default() -> tuple[Rule, ...]:
    return parse_rules((files("mail") / "machines.toml").read_text("utf-8"))


def bot_reason(hit: TrackingHit) -> str | None:
    """Why a hit is classified as a machine's, or None if it may be a person's."""
    return next((rule.reason for rule in _default() if rule.matches(hit)), None)


def lint(rules: Sequence[Rule]) -> list[str]:
    """Problems of the rules: no condition, or an example that another rule matches first."""
    problems = []
    for index, rule in enumerate(rules):
        conditions = (
            rule.method,
            rule.user_agent,
            rule.within_s,
            rule.links_within_1s,
            rule.honeypot,
        )
        if not any(conditions):
            problems.append(f"{rule.reason}: has no condition, so it matches everything")
        if rule.user_agent is not None:
            hit = TrackingHit(rule.kind or OPEN, "GET", rule.example or "")
            first = next((i for i, other in enumerate(rules) if other.matches(hit)), None)
            if first != index:
                problems.append(
                    f"{rule.reason}: its example {rule.example!r} does not match this rule first"
                )
    return problems
