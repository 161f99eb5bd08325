"""Hits by machines: prefetching proxies, link scanners, robots (RFC 9110 §10.1.5, §9.3.2).

The rules are data (machines.toml), and an operator may add some. A machine's hit is stored as an
event, but not counted in the statistics if it is certain.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from typing import Any

import re2

from mail.reachable import Network, canonical_ip, is_within, parse_networks

OPEN, CLICK = "open", "click"
CERTAIN, PROBABLE = "certain", "probable"
_USER_AGENT_MAX = 500


@dataclass(frozen=True, slots=True)
class TrackingHit:
    """One request for a pixel or a link.

    ip: of the client, empty if unknown. `after_s`: seconds since the delivery, None if unknown.
    `links_within_1s`: distinct links of the message that were followed within one second, including
    this one. `after_other_s`: seconds since another client followed the same link, None if none
    has.
    """

    kind: str
    method: str
    user_agent: str
    after_s: float | None = None
    links_within_1s: int = 1
    honeypot: bool = False
    ip: str = ""
    after_other_s: float | None = None


@dataclass(frozen=True, slots=True)
class BotRule:
    """A rule matches a hit if all its conditions that are not None match."""

    reason: str
    certainty: str
    kind: str | None
    method: str | None
    user_agent: Any
    networks: tuple[Network, ...]
    within_s: float | None
    links_within_1s: int | None
    after_other_s: float | None
    honeypot: bool
    example: str | None

    @property
    def is_certain(self) -> bool:
        """Whether no person does what the rule describes."""
        return self.certainty == CERTAIN

    @property
    def is_timed(self) -> bool:
        """Whether it depends on other hits or on the delivery."""
        conditions = (self.within_s, self.links_within_1s, self.after_other_s)
        return any(one is not None for one in conditions)

    def matches(self, hit: TrackingHit) -> bool:
        """Whether the rule matches the hit."""
        agent = self.user_agent is None or self.user_agent.search(_searchable(hit.user_agent))
        return (
            self.kind in (None, hit.kind)
            and self.method in (None, hit.method.upper())
            and _is_below(hit.after_s, self.within_s)
            and _is_below(hit.after_other_s, self.after_other_s)
            and bool(agent)
            and hit.links_within_1s >= (self.links_within_1s or 0)
            and (hit.honeypot or not self.honeypot)
            and (not self.networks or _is_from(hit.ip, self.networks))
        )


def _is_below(seconds: float | None, limit: float | None) -> bool:
    return limit is None or (seconds is not None and seconds < limit)


def _is_from(ip: str, networks: Sequence[Network]) -> bool:
    try:
        return is_within(canonical_ip(ip), networks)
    except ValueError:
        return False


def _searchable(user_agent: str) -> str:
    """The end too: some programs are told apart by their last words."""
    if len(user_agent) > _USER_AGENT_MAX:
        half = _USER_AGENT_MAX // 2
        user_agent = f"{user_agent[:half]} {user_agent[-half:]}"
    return user_agent.lower().encode("utf-8", "replace").decode("utf-8")


def parse_rules(text: str) -> tuple[BotRule, ...]:
    """The rules of a machines.toml, in order. Raises ValueError."""
    try:
        return tuple(_rule(entry) for entry in tomllib.loads(text).get("rule", ()))
    except (KeyError, TypeError, AttributeError, re2.error) as error:
        raise ValueError(f"a rule is invalid: {error}") from error


def _rule(entry: Mapping[str, Any]) -> BotRule:
    pattern, certainty = entry.get("user_agent"), entry.get("certainty", CERTAIN)
    if certainty not in (CERTAIN, PROBABLE):
        raise ValueError(f"certainty {certainty!r} is not {CERTAIN} or {PROBABLE}")
    if unknown := sorted(entry.keys() - BotRule.__dataclass_fields__.keys()):
        raise ValueError(f"a rule has an unknown field {unknown[0]!r}")
    return BotRule(
        reason=entry["reason"],
        certainty=certainty,
        kind=entry.get("kind"),
        method=entry.get("method"),
        user_agent=None if pattern is None else re2.compile(pattern),
        networks=parse_networks(entry.get("networks", ())),
        within_s=entry.get("within_s"),
        links_within_1s=entry.get("links_within_1s"),
        after_other_s=entry.get("after_other_s"),
        honeypot=entry.get("honeypot", False),
        example=entry.get("example"),
    )


@lru_cache(maxsize=1)
def default_rules() -> tuple[BotRule, ...]:
    """Those of machines.toml."""
    return parse_rules((files("mail") / "machines.toml").read_text("utf-8"))


def matching_rule(hit: TrackingHit, rules: Sequence[BotRule] | None = None) -> BotRule | None:
    """The rule by which a hit is a machine's, or None if it may be a person's. What is certain
    comes before what is probable."""
    probable = None
    for rule in default_rules() if rules is None else rules:
        if rule.matches(hit):
            if rule.is_certain:
                return rule
            probable = probable or rule
    return probable


def lint(rules: Sequence[BotRule]) -> list[str]:
    """Problems of the rules: no condition, or an example that another rule matches first."""
    problems = []
    for index, rule in enumerate(rules):
        conditions = (
            rule.method,
            rule.user_agent,
            rule.networks,
            rule.within_s,
            rule.links_within_1s,
            rule.after_other_s,
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
