"""Bounce classes: the meaning of a refusal and the action it requires. RFC 3463, RFC 5248.

Rules are data (bounce_rules.toml), tried in order. The first match gives the class, and the class
decides the action. A code alone never suppresses an address: servers reply 550 to spam, to unknown
users and for full disks. Text alone does not suppress either if the enhanced code contradicts it:
`5.7.1 user does not exist` often comes from a policy or from a filter that rejects the sender, and
a wrong suppression goes unnoticed. Such a message bounces without a suppression, except from
servers that are known to reply this for missing addresses.
A refusal that no rule matches is `uncategorized` and never suppresses.
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

_ADDRESS = re.compile(r"<?[^\s<>@\[(:;,]{1,64}@(?:[^\s<>@,;:\]).]|\.(?!\.)){1,255}>?")
_QUOTED = re.compile(r"\bhost \S{1,255} said: ")  # a relay that quotes another server
MAX_TEXT = 2048  # characters that are examined


class BounceAction(StrEnum):
    """The engine's action after a refusal of this class."""

    SUPPRESS = "suppress"  # address or domain does not exist: give up, count a strike
    RETRY = "retry"  # retry by the retry schedule
    SLOW_DOWN = "slow_down"  # retry, and slow down for this site
    GIVE_UP = "give_up"  # fail this message; the address may be valid


@dataclass(frozen=True, slots=True)
class BounceClass:
    """The class of a refusal. `name` is KumoMTA's in snake_case; the other names are those of SES
    and SparkPost.

    `suppress_after`: number of such bounces that suppress the address; 0 disables suppression.
    """

    name: str
    action: BounceAction
    suppress_after: int
    ses_type: str
    ses_subtype: str
    sparkpost: int


@dataclass(frozen=True, slots=True)
class BounceRule:
    """`pattern` (RE2) is searched in `<code> <enhanced> <text in lower case>`.

    `example`: a text that the pattern must match; the linter checks it. `unless`: SMTP command to
    which the rule does not apply. `any_code`: ignore the enhanced code, because these servers are
    known to send a wrong one.
    """

    name: str
    pattern: str
    example: str
    unless: str = ""
    any_code: bool = False


@dataclass(frozen=True, slots=True)
class BounceRuleSet:
    """Classes by name, and rules in order."""

    classes: dict[str, BounceClass]
    rules: tuple[BounceRule, ...]


def parse_rules(text: str) -> BounceRuleSet:
    """The rules of a bounce_rules.toml. Raises ValueError for an unknown class or a bad pattern."""
    data = tomllib.loads(text)
    classes = {name: _class(name, entry) for name, entry in data["class"].items()}
    rules = tuple(
        BounceRule(
            r["class"],
            _confined(pattern, r.get("when", "")),
            example,
            r.get("unless", ""),
            r.get("any_code", False),
        )
        for r in data["rule"]
        for pattern, example in r["patterns"].items()
    )
    for rule in rules:
        if rule.name not in classes:
            raise ValueError(f"rule {rule.pattern!r} names an unknown class {rule.name!r}")
    return BounceRuleSet(classes, rules)


_WHEN = {
    "": "",
    "permanent": r"^(?:5\d\d|-) [5-]\S* ",
    "transient": r"^(?:4\d\d|-) [4-]\S* ",
}


def _confined(pattern: str, when: str) -> str:
    """The pattern, restricted to codes of a kind and applied to the text; `^` is the text's
    start."""
    if not when:
        return pattern
    branches = [f"(?:{b[1:]})" if b.startswith("^") else f".*(?:{b})" for b in _branches(pattern)]
    return _WHEN[when] + f"(?:{'|'.join(branches)})"


def _branches(pattern: str) -> list[str]:
    """The top-level alternatives of a pattern, because each can have its own `^`."""
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
    action, strikes = BounceAction(entry["action"]), entry.get("suppress_after", 0)
    return BounceClass(name, action, strikes, ses_type, ses_subtype, entry["sparkpost"])


class BounceClassifier:
    """The rules, compiled into one automaton that reads a reply once."""

    __slots__ = ("_classes", "_rules", "_set")

    def __init__(self, ruleset: BounceRuleSet) -> None:
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
        """Indexes of the matching rules, in order."""
        given = text_to_match(code, enhanced, text).encode("utf-8", "replace")
        found: list[int] | None = self._set.Match(given)
        return sorted(found) if found else []

    def classify(self, code: int, enhanced: str, text: str, *, command: str = "") -> BounceClass:
        """The class of the first matching rule that applies and that the code does not
        contradict."""
        for index in self.matches(code, enhanced, text):
            rule = self._rules[index]
            bounce_class = self._classes[rule.name]
            if rule.unless and rule.unless == command:
                continue
            if not bounce_class.suppress_after or rule.any_code or _may_not_exist(code, enhanced):
                return bounce_class
        permanent = code >= 500 or (not code and not enhanced.startswith("4"))
        return self._classes["uncategorized" if permanent else "transient_failure"]


# Enhanced codes that allow for a missing address or domain (RFC 3463 §3): undefined (X.0, X.2.0,
# X.3.0, X.5.0), an address other than the sender's (X.1 except 7 and 8), a disabled mailbox
# (X.2.1), a host that accepts no mail (X.3.2), no route or, at Exchange Online, no such recipient
# (X.4.0, 1, 4, 310), a disabled account (X.7.13, RFC 5248).
_NONEXISTENT = re.compile(
    r"(?:5\.(?:0\.\d+|1\.(?![78]$)\d+|2\.[01]|3\.[02]|4\.(?:[014]|310)|5\.0|7\.13))?"
)


def _may_not_exist(code: int, enhanced: str) -> bool:
    """Whether the codes allow for a missing address or domain."""
    return not 400 <= code < 500 and _NONEXISTENT.fullmatch(enhanced) is not None


def text_to_match(code: int, enhanced: str, text: str) -> str:
    """The text that patterns are matched against: `550 5.1.1 the text in lower case`.

    `-` replaces a missing code and `@` every address.
    """
    if "@" in text:
        text = _ADDRESS.sub("@", text[:MAX_TEXT])
    lowered = " ".join(text[:MAX_TEXT].lower().split())
    if " said: " in lowered:
        lowered = _QUOTED.sub("", lowered)
    return f"{code or '-'} {enhanced or '-'} {lowered}"


@lru_cache(maxsize=1)
def default_classifier() -> BounceClassifier:
    """The classifier with the built-in rules."""
    return BounceClassifier(parse_rules((files("mail") / "bounce_rules.toml").read_text("utf-8")))


def classify(code: int, enhanced: str, text: str, *, command: str = "") -> BounceClass:
    """The class of a refusal.

    `code`: 400 to 599, or 0 if a report has none. `enhanced`: like "5.1.1", or "". `text`: as
    received, without the codes. `command`: the SMTP command that was refused, if known. A refusal
    before RCPT cannot concern the recipient, and "unknown user" after DATA often comes from a
    filter that rejects the sender; neither suppresses.
    """
    bounce_class = default_classifier().classify(code, enhanced, text, command=command)
    if bounce_class.suppress_after and command in _BEFORE_RCPT:
        return (
            bounce_class
            if _concerns_host(bounce_class, command)
            else class_by_name("invalid_sender")
        )
    if command in _OF_CONNECTION and bounce_class.name == "spam_content":
        return class_by_name("spam_block")  # there was no content yet
    if command == "DATA" and bounce_class.name == "invalid_recipient" and "5.1." not in enhanced:
        return class_by_name("recipient_filter")
    return bounce_class


# Names that delivery and reports use.
_OF_CONNECTION = frozenset(("CONN", "CONNECT", "GREETING", "EHLO", "HELO", "STARTTLS"))
_BEFORE_RCPT = _OF_CONNECTION | {"MAIL"}


def _concerns_host(bounce_class: BounceClass, command: str) -> bool:
    """A host can reject all mail in its greeting (RFC 7504)."""
    return bounce_class.name == "bad_domain" and command != "MAIL"


def class_by_name(name: str) -> BounceClass:
    """A class by name, also for outcomes without a reply: `bad_domain`, `message_expired` …"""
    return default_classifier()._classes[name]


def lint(ruleset: BounceRuleSet, corpus: Iterable[tuple[int, str, str]] = ()) -> list[str]:
    """Problems of the rules: an example that its rule does not match, or that an earlier rule
    shadows. Rules without an example must be the first match of an entry of the corpus of
    (code, enhanced, text).
    """
    classifier = BounceClassifier(ruleset)
    problems = []
    reached = {min(found) for entry in corpus if (found := classifier.matches(*entry))}
    for index, rule in enumerate(ruleset.rules):
        if rule.example:
            problems += _check_example(classifier, ruleset.rules, index)
        elif index not in reached:
            problems.append(f"{rule.name}: {rule.pattern!r} matches nothing in the corpus")
    return problems


_EXAMPLE = re.compile(r"(?:(\d{3}) )?(?:(\d\.\d+\.\d+) )?(.*)", re.DOTALL)


def _check_example(
    classifier: BounceClassifier, rules: Sequence[BounceRule], index: int
) -> list[str]:
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


def normalize_diagnostic(text: str) -> str:
    """The text with addresses, IPs, URLs, ids and long numbers replaced, to group equal
    refusals."""
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
