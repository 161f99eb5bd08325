"""From content to score, reasons and verdict."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import re2

from contracts.ingest.v1.content_pb2 import Content
from contracts.shield.v1.events_pb2 import Reason, Verdict
from services.shield.domain.measures import MEASURES, Terms
from services.shield.domain.reading import Reading, read
from services.shield.domain.rulebook import MeasureRule, Rulebook, RuleError, Thresholds

# The set's automaton is built as text is read; some hundred rules need a quarter of this.
SET_MEMORY_BYTES = 64 << 20
DETAIL_CHARS = 120
REASONS_MAX = 50  # an event stays under 64 KiB whatever the message says


@dataclass(frozen=True, slots=True)
class Opinion:
    """A score and why; `reasons` with the heaviest first."""

    score: float
    verdict: Verdict.ValueType
    reasons: tuple[Reason, ...]
    thresholds: Thresholds


class Scorer:
    """The rulebook, compiled. Safe to share; keep one per process."""

    def __init__(self, book: Rulebook) -> None:
        """Raises RuleError for a pattern that RE2 cannot read or a measure that nobody wrote."""
        self.book = book
        self._set = compiled(book)
        self._patterns = [re2.compile(rule.pattern) for rule in book.text]
        self._measures = by_measure(book.measure)
        self._terms = Terms(book.lists, book.brands)
        self._scores = {rule.name: rule.score for rule in book.rules}

    def score(
        self, content: Content, *, thresholds: Thresholds | None = None, quote: bool = False
    ) -> Opinion:
        """Never raises on anything that content may hold.

        quote: the words that text rules saw, also where the message passes; for what does not pass
        they are always there.
        """
        limits = thresholds or self.book.thresholds
        reading = read(content, self.book.limits)
        findings = self.findings(reading)
        score = self.total(findings)
        decided = verdict(score, limits)
        document = reading.document if quote or decided != Verdict.VERDICT_PASS else ""
        return Opinion(score, decided, self.reasons(findings, document), limits)

    def findings(self, reading: Reading) -> dict[str, str]:
        """The rules that fired, each with a detail (text rules get theirs in `reasons`)."""
        fired = dict.fromkeys(self.spotted(reading.document), "")
        for name, rules in self._measures.items():
            value, detail = MEASURES[name](reading, self._terms)
            for rule in rules:
                if rule.at_least <= value < rule.below:
                    fired[rule.name] = detail or f"{value:.3g}"
        for both in self.book.both:
            if all(name in fired for name in both.all) and not any(n in fired for n in both.none):
                fired[both.name] = ""
        return fired

    def spotted(self, document: str) -> list[str]:
        """The text rules that see something. Where the set runs out of memory, one by one."""
        numbers = self._set.Match(document)
        if not numbers:  # not even the pattern that always matches
            numbers = [n for n, each in enumerate(self._patterns) if each.search(document)]
        return [self.book.text[number].name for number in numbers if number < len(self.book.text)]

    def total(self, fired: Iterable[str]) -> float:
        scores = [self._scores[name] for name in fired]
        credit = max(sum(each for each in scores if each < 0), -self.book.credit_max)
        return round(sum(each for each in scores if each > 0) + credit, 3)

    def reasons(self, fired: Mapping[str, str], document: str) -> tuple[Reason, ...]:
        telling = [name for name in fired if self._scores[name]]
        heaviest = sorted(telling, key=lambda name: -abs(self._scores[name]))[:REASONS_MAX]
        quotes = self.quotes(set(heaviest), document) if document else {}
        return tuple(
            Reason(
                rule=name,
                score=self._scores[name],
                detail=(fired[name] or quotes.get(name, ""))[:DETAIL_CHARS],
            )
            for name in heaviest
        )

    def quotes(self, names: set[str], document: str) -> dict[str, str]:
        """The words that text rules saw: the set says that, the pattern says where."""
        found = {
            rule.name: pattern.search(document)
            for rule, pattern in zip(self.book.text, self._patterns, strict=True)
            if rule.name in names
        }
        return {name: match[0][-DETAIL_CHARS:] for name, match in found.items() if match}


def compiled(book: Rulebook) -> "re2.Set":
    options = re2.Options()
    options.max_mem = SET_MEMORY_BYTES
    options.log_errors = False
    patterns = re2.Set.SearchSet(options)
    for rule in book.text:
        try:
            patterns.Add(rule.pattern)
        except re2.error as error:
            raise RuleError(f"{rule.name}: {error}: {rule.pattern}") from error
    patterns.Add("")  # always matches: a set says nothing both of no match and of no memory
    patterns.Compile()
    return patterns


def by_measure(rules: Iterable[MeasureRule]) -> dict[str, list[MeasureRule]]:
    """Every measure is taken once, however many rules look at it."""
    grouped: dict[str, list[MeasureRule]] = {}
    for rule in rules:
        if rule.measure not in MEASURES:
            raise RuleError(f"{rule.name}: measure {rule.measure!r} is none of {sorted(MEASURES)}")
        grouped.setdefault(rule.measure, []).append(rule)
    return grouped


def verdict(score: float, thresholds: Thresholds) -> Verdict.ValueType:
    if score >= thresholds.block:
        return Verdict.VERDICT_BLOCK
    if score >= thresholds.hold:
        return Verdict.VERDICT_HOLD
    return Verdict.VERDICT_PASS


def of_tenant(hold: float, block: float, default: Thresholds) -> Thresholds:
    """A tenant's own thresholds; 0 stands for the default, and block is never below hold."""
    held = hold or default.hold
    return Thresholds(held, max(block or default.block, held))


def unread(rule: str, book: Rulebook, verdict: Verdict.ValueType) -> Opinion:
    """A verdict on what cannot be read, with its one reason: it is not sent."""
    limits = book.thresholds
    score = limits.block if verdict == Verdict.VERDICT_BLOCK else limits.hold
    return Opinion(score, verdict, (Reason(rule=rule, score=score),), limits)
