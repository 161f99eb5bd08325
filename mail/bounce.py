"""Bounce classes: what a refusal means and what to do about it. RFC 3463, RFC 5248.

Rules are data (bounce_rules.toml), tried in their order; the first that matches names the class,
and the class decides the action. A code alone never suppresses an address: 550 is said to spam, to
unknown users and to full disks alike. Nor do words alone that an enhanced code contradicts: `5.7.1
user does not exist` is a policy that speaks carelessly, or a filter that does not like the sender,
as often as it is true, and a suppression is not noticed. Such a message bounces and the address
stays; only servers that are known to say it of missing addresses are believed.
What no rule knows is `uncategorized` and never suppressed.
"""

import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from importlib.resources import files
from typing import Any

import re2

_ADDRESS = re.compile(r"<?[^\s<>@\[(:;,]{1,64}@[^\s<>@,;:\])]{1,255}>?")
_QUOTED = re.compile(r"\bhost \S{1,255} said: ")  # a relay that tells what it was told
MAX_TEXT = 2048  # characters looked at


class Action(StrEnum):
    """What the engine does after such a reply."""

    SUPPRESS = "suppress"  # the address or its domain does not exist: give up, and count a strike
    RETRY = "retry"  # later, by the retry schedule
    SLOW_DOWN = "slow_down"  # later, and slower to this site
    GIVE_UP = "give_up"  # this message will not arrive; the address may be good


@dataclass(frozen=True, slots=True)
class BounceClass:
    """The verdict on one reply. `name` is ours (snake_case of KumoMTA's); the others, the market's.

    `suppress_after`: how many such bounces suppress the address (0: none ever do). SES's type and
    subtype and SparkPost's number are those that their users know.
    """

    name: str
    action: Action
    suppress_after: int
    ses_type: str
    ses_subtype: str
    sparkpost: int


@dataclass(frozen=True, slots=True)
class Rule:
    """`pattern` (RE2) is searched in `<code> <enhanced> <text in lower case>`.

    `example` is a text that it must match: the linter proves the rule with it. `unless`: the SMTP
    command to which it does not apply. `whatever_code`: said by servers whose enhanced code is
    known to be wrong, so that it contradicts nothing.
    """

    name: str
    pattern: str
    example: str
    unless: str = ""
    whatever_code: bool = False


@dataclass(frozen=True, slots=True)
class RuleSet:
    """Classes by name, and rules in the order in which they are tried."""

    classes: dict[str, BounceClass]
    rules: tuple[Rule, ...]


def load_rules(text: str) -> RuleSet:
    """The rules of a bounce_rules.toml. Raises ValueError for an unknown class or a bad pattern."""
    data = tomllib.loads(text)
    classes = {name: _class(name, entry) for name, entry in data["class"].items()}
    rules = tuple(
        Rule(
            r["class"],
            _confined(pattern, r.get("when", "")),
            example,
            r.get("unless", ""),
            r.get("whatever_code", False),
        )
        for r in data["rule"]
        for pattern, example in r["patterns"].items()
    )
    for rule in rules:
        if rule.name not in classes:
            raise ValueError(f"rule {rule.pattern!r} names an unknown class {rule.name!r}")
    return RuleSet(classes, rules)


_WHEN = {
    "": "",
    "permanent": r"^(?:5\d\d|-) [5-]\S* ",
    "transient": r"^(?:4\d\d|-) [4-]\S* ",
}


def _confined(pattern: str, when: str) -> str:
    """The pattern for the text alone, behind a code of that kind; `^` is the text's beginning."""
    if not when:
        return pattern
    branches = [f"(?:{b[1:]})" if b.startswith("^") else f".*(?:{b})" for b in _branches(pattern)]
    return _WHEN[when] + f"(?:{'|'.join(branches)})"


def _branches(pattern: str) -> list[str]:
    """The alternatives of a pattern at its top level, so that each may have its own `^`."""
    found, depth, start, index = [], 0, 0, 0
    while index < len(pattern):
        char = pattern[index]
        depth += {"(": 1, ")": -1}.get(char, 0)
        if char == "|" and depth == 0:
            found.append(pattern[start:index])
            start = index + 1
        index += 2 if char == "\\" else 1
    return [*found, pattern[start:]]


def _class(name: str, entry: Mapping[str, Any]) -> BounceClass:
    ses_type, _, ses_subtype = entry["ses"].partition("/")
    action, strikes = Action(entry["action"]), entry.get("suppress_after", 0)
    return BounceClass(name, action, strikes, ses_type, ses_subtype, entry["sparkpost"])


class Classifier:
    """The rules compiled into one automaton: a reply is read once, however many rules there are."""

    __slots__ = ("_classes", "_rules", "_set")

    def __init__(self, ruleset: RuleSet) -> None:
        options = re2.Options()
        options.never_capture = True
        options.max_mem = 64 << 20
        self._set = re2.Set.SearchSet(options)
        for rule in ruleset.rules:
            if self._set.Add(rule.pattern) < 0:
                raise ValueError(f"not an RE2 pattern: {rule.pattern!r}")
        self._set.Compile()
        self._rules = ruleset.rules
        self._classes = ruleset.classes

    def matches(self, code: int, enhanced: str, text: str) -> list[int]:
        """The rules that match, in their order."""
        given = subject(code, enhanced, text).encode("utf-8", "replace")
        found: list[int] | None = self._set.Match(given)
        return sorted(found) if found else []

    def classify(self, code: int, enhanced: str, text: str, *, command: str = "") -> BounceClass:
        """The class of the first rule that matches, applies, and is not contradicted."""
        for index in self.matches(code, enhanced, text):
            rule = self._rules[index]
            verdict = self._classes[rule.name]
            if rule.unless and rule.unless == command:
                continue
            if not verdict.suppress_after or rule.whatever_code or _may_be_gone(code, enhanced):
                return verdict
        permanent = code >= 500 or (not code and not enhanced.startswith("4"))
        return self._classes["uncategorized" if permanent else "transient_failure"]


# Codes behind which an address or a domain may be gone (RFC 3463 §3): nothing said (X.0, X.2.0,
# X.3.0, X.5.0), an address that is not the sender's (X.1 but 7 and 8), a mailbox that is disabled
# (X.2.1), a host without mail (X.3.2), no route or, at Exchange Online, no such recipient (X.4.0,
# 1, 4, 310), an account that is disabled (X.7.13, RFC 5248).
_GONE = re.compile(
    r"(?:5\.(?:0\.\d+|1\.(?![78]$)\d+|2\.[01]|3\.[02]|4\.(?:[014]|310)|5\.0|7\.13))?"
)


def _may_be_gone(code: int, enhanced: str) -> bool:
    """Whether the codes leave room for words that say so: permanent, and of nothing else."""
    return not 400 <= code < 500 and _GONE.fullmatch(enhanced) is not None


def subject(code: int, enhanced: str, text: str) -> str:
    """What the patterns see: `550 5.1.1 the text in lower case`.

    `-` stands for a missing part and `@` for an address: a name is not a reason.
    """
    if "@" in text:
        text = _ADDRESS.sub("@", text[:MAX_TEXT])
    lowered = " ".join(text[:MAX_TEXT].lower().split())
    if " said: " in lowered:
        lowered = _QUOTED.sub("", lowered)
    return f"{code or '-'} {enhanced or '-'} {lowered}"


@lru_cache(maxsize=1)
def default() -> Classifier:
    """The classifier with the rules beside this module."""
    return Classifier(load_rules((files("mail") / "bounce_rules.toml").read_text("utf-8")))


def classify(code: int, enhanced: str, text: str, *, command: str = "") -> BounceClass:
    """What a refusal means.

    `code`: 400 to 599, or 0 when a report does not say. `enhanced`: like "5.1.1", or "". `text`: as
    received, without them. `command`: the SMTP command that was refused, when it is known: before
    RCPT nothing can be said of the recipient; after the data, "unknown user" is as often said by a
    filter that does not like the sender. Neither suppresses.
    """
    verdict = default().classify(code, enhanced, text, command=command)
    if verdict.suppress_after and command in _BEFORE_RCPT:
        return verdict if _is_of_host(verdict, command) else named("invalid_sender")
    if command in _OF_CONNECTION and verdict.name == "spam_content":
        return named("spam_block")  # there was no content yet
    if command == "DATA" and verdict.name == "invalid_recipient" and "5.1." not in enhanced:
        return named("recipient_filter")
    return verdict


# As delivery and reports name them.
_OF_CONNECTION = frozenset(("CONN", "CONNECT", "GREETING", "EHLO", "HELO", "STARTTLS"))
_BEFORE_RCPT = _OF_CONNECTION | {"MAIL"}


def _is_of_host(verdict: BounceClass, command: str) -> bool:
    """A host may greet with the news that it takes no mail at all (RFC 7504)."""
    return verdict.name == "bad_domain" and command != "MAIL"


def named(name: str) -> BounceClass:
    """A class by its name, for outcomes that are no reply: `bad_domain`, `message_expired` …"""
    return default()._classes[name]


def lint(ruleset: RuleSet, corpus: Iterable[tuple[int, str, str]] = ()) -> list[str]:
    """What is wrong with the rules: one that its own example does not reach, or one never first.

    A rule whose example an earlier rule of another class takes is shadowed. With a corpus of
    (code, enhanced, text), rules without an example are proved by it.
    """
    classifier = Classifier(ruleset)
    problems = []
    reached = {min(found) for entry in corpus if (found := classifier.matches(*entry))}
    for index, rule in enumerate(ruleset.rules):
        if rule.example:
            problems += _prove(classifier, ruleset.rules, index)
        elif index not in reached:
            problems.append(f"{rule.name}: {rule.pattern!r} matches nothing in the corpus")
    return problems


_EXAMPLE = re.compile(r"(?:(\d{3}) )?(?:(\d\.\d+\.\d+) )?(.*)", re.DOTALL)


def _prove(classifier: Classifier, rules: Sequence[Rule], index: int) -> list[str]:
    rule = rules[index]
    match = _EXAMPLE.fullmatch(rule.example)
    code, enhanced, text = match.groups() if match else ("", "", rule.example)
    found = classifier.matches(int(code or 0), enhanced or "", text)
    if index not in found:
        return [f"{rule.name}: {rule.pattern!r} does not match its example {rule.example!r}"]
    if found[0] != index:
        return [f"{rule.name}: {rule.pattern!r} is shadowed by {rules[found[0]].pattern!r}"]
    return []


_IP = re.compile(
    r"\[?(?:\d{1,3}\.){3}\d{1,3}\]?|\[?(?:IPv6:)?(?:[0-9a-f]{1,4}:){3,7}[0-9a-f:]*\]?", re.I
)
_URL = re.compile(r"https?://\S+")
_ID = re.compile(r"\b(?=[\w.-]*\d)[\w.-]{9,}\b")
_NUMBER = re.compile(r"\b\d{4,}\b")


def normalise(text: str) -> str:
    """The text with addresses, IPs, links, ids and long numbers replaced, so that equals count."""
    text = text[:MAX_TEXT]
    for pattern, name in (
        (_URL, "<url>"),
        (_ADDRESS, "<address>"),
        (_IP, "<ip>"),
        (_ID, "<id>"),
        (_NUMBER, "<number>"),
    ):
        text = pattern.sub(name, text)
    return " ".join(text.split())[:512]
