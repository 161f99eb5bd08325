"""Rules of the feedback controller: which reply limits or suspends what. They are data
(feedback.toml), with a linter."""

import tomllib
from collections.abc import Iterable, Mapping, Sequence
from enum import StrEnum
from functools import lru_cache
from importlib.resources import files
from typing import Any, NamedTuple

import re2

from mail import bounce
from services.router.domain.results import ObservedResult
from services.router.domain.shaping import provider_sites


class FeedbackAction(StrEnum):
    SLOW_DOWN = "slow_down"
    ONE_CONNECTION = "one_connection"
    SUSPEND_SITE = "suspend_site"
    SUSPEND_EGRESS = "suspend_egress"
    SUSPEND_TENANT_SITE = "suspend_tenant_site"
    PAUSE_TENANT = "pause_tenant"


class FeedbackRule(NamedTuple):
    """sites, classes: empty means all. pattern: "" means any text."""

    name: str
    action: FeedbackAction
    sites: frozenset[str]
    classes: frozenset[str]
    pattern: str
    threshold: int
    period_s: float
    duration_s: float
    duration_max_s: float
    per_minute: int = 0
    fallback: bool = False
    example: str = ""
    source: str = ""

    def applies(self, site: str, bounce_class: str, text: str) -> bool:
        return (
            (not self.sites or site in self.sites)
            and (not self.classes or bounce_class in self.classes)
            and (not self.pattern or compile_pattern(self.pattern).search(text) is not None)
        )


@lru_cache(maxsize=1024)
def compile_pattern(pattern: str) -> Any:  # noqa: ANN401 - re2 has no types
    options = re2.Options()
    options.log_errors = False
    return re2.compile(pattern, options)


def parse_feedback_rules(text: str) -> tuple[FeedbackRule, ...]:
    """Raises ValueError with all problems that the linter has found."""
    rules = tuple(parse_rule(entry) for entry in tomllib.loads(text).get("rule", []))
    if problems := lint_feedback_rules(rules):
        raise ValueError("; ".join(problems))
    return rules


def parse_complaint_sites(text: str) -> tuple[frozenset[str], frozenset[str]]:
    """The sites that report complaints, and those of them that know senders by a DKIM domain.
    Raises ValueError."""
    rules = tomllib.loads(text)
    sites = frozenset(rules.get("complaint_sites", ()))
    by_domain = frozenset(rules.get("complaint_domain_sites", ()))
    if unknown := sorted(by_domain - sites):
        raise ValueError(
            f"complaint_domain_sites names {', '.join(unknown)}. Add it to complaint_sites, too."
        )
    return sites, by_domain


def parse_rule(entry: Mapping[str, Any]) -> FeedbackRule:
    return FeedbackRule(
        name=str(entry.get("name", "")),
        action=FeedbackAction(entry["action"]),
        sites=frozenset(entry.get("sites", ())),
        classes=frozenset(entry.get("classes", ())),
        pattern=str(entry.get("pattern", "")),
        threshold=int(entry.get("threshold", 1)),
        period_s=float(entry.get("period_s", 3600)),
        duration_s=float(entry.get("duration_s", 0)),
        duration_max_s=float(entry.get("duration_max_s", entry.get("duration_s", 0))),
        per_minute=int(entry.get("per_minute", 0)),
        fallback=bool(entry.get("fallback", False)),
        example=str(entry.get("example", "")),
        source=str(entry.get("source", "")),
    )


def lint_feedback_rules(rules: Sequence[FeedbackRule]) -> list[str]:
    """Reports rules that no reply can match, and rules without effect or end."""
    names = [rule.name for rule in rules]
    problems = [f"rule {n!r}: two rules have this name." for n in {*names} if names.count(n) > 1]
    for rule in rules:
        problems += [f"rule {rule.name!r}: {problem}" for problem in lint_rule(rule)]
    return problems


def lint_rule(rule: FeedbackRule) -> Iterable[str]:
    if unknown := sorted(s for s in rule.sites - provider_sites() if "." not in s):
        yield f"no site is named {', '.join(unknown)}. Use names of mail/sites.toml."
    if unknown := sorted(rule.classes - bounce_classes()):
        yield f"no bounce class is named {', '.join(unknown)}."
    if not rule.pattern and not rule.classes:
        yield "it matches every reply. Set `pattern` or `classes`."
    if rule.pattern and (problem := lint_pattern(rule)):
        yield problem
    if not 0 < rule.duration_s <= rule.duration_max_s or rule.threshold < 1 or rule.period_s <= 0:
        yield "set threshold, period_s and 0 < duration_s <= duration_max_s."
    if (rule.action is FeedbackAction.SLOW_DOWN) != (rule.per_minute > 0):
        yield "`per_minute` belongs to slow_down, and to no other action."
    if not rule.source:
        yield "set `source` to where its figures are from."


def lint_pattern(rule: FeedbackRule) -> str:
    try:
        found = compile_pattern(rule.pattern).search(rule.example.lower())
    except re2.error as error:
        return f"not an RE2 pattern: {error}"
    return "" if found else f"the pattern does not match its example {rule.example!r}."


@lru_cache(maxsize=1)
def bounce_classes() -> frozenset[str]:

    rules = bounce.parse_rules((files("mail") / "bounce_rules.toml").read_text("utf-8"))
    return frozenset(rules.classes)


def matching_rules(
    rules: Sequence[FeedbackRule], result: ObservedResult
) -> tuple[FeedbackRule, ...]:
    """The rules that apply; fallbacks only where no other does."""
    lowered = result.reply_text[: bounce.MAX_TEXT].lower()
    found = [rule for rule in rules if rule.applies(result.site, result.bounce_class, lowered)]
    return tuple([rule for rule in found if not rule.fallback] or found)
