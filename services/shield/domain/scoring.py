"""Compute score, reasons and verdict of a content."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

import re2

from contracts.ingest.v1.content_pb2 import Content
from contracts.shield.v1.events_pb2 import Reason, Verdict
from services.shield.domain.features import MessageFeatures, extract_features
from services.shield.domain.measures import MEASURES, NEEDS, Measure, Need, WordLists
from services.shield.domain.rulebook import MeasureRule, Rulebook, RuleError, Thresholds

# Memory of the set's automaton, built as text is read; some hundred rules need a quarter of it.
SET_MEMORY_BYTES = 64 << 20
DETAIL_CHARS = 120
REASONS_MAX = 50  # keeps an event under 64 KiB for any message


@dataclass(frozen=True, slots=True)
class ScreeningResult:
    """Score, verdict and reasons, in descending order of weight."""

    score: float
    verdict: Verdict.ValueType
    reasons: tuple[Reason, ...]
    thresholds: Thresholds


class MeasureGroup(NamedTuple):
    """A measure with the rules that use it."""

    measure_of: Measure
    least: float  # no rule matches below it
    rules: Sequence[MeasureRule]


class Scorer:
    """The compiled rulebook. Thread-safe; one per process is enough."""

    def __init__(self, book: Rulebook) -> None:
        """Raises RuleError for an invalid RE2 pattern or an unknown measure."""
        self.book = book
        self._set = compile_patterns(book)
        self._patterns = [re2.compile(rule.pattern) for rule in book.text]
        self._groups = group_by_need(group_by_measure(book.measure))
        self._meta = [(r.name, frozenset(r.all), frozenset(r.none)) for r in book.meta]
        self._lists = WordLists(book.lists, book.brands)
        self._scores = {rule.name: rule.score for rule in book.rules}
        self._lightness = {name: -abs(score) for name, score in self._scores.items()}

    def score(
        self, content: Content, *, thresholds: Thresholds | None = None, quote: bool = False
    ) -> ScreeningResult:
        """Never raises, whatever the content is.

        quote: add the matched words of text rules also if the message passes; otherwise they are
        added only if it does not.
        """
        limits = thresholds or self.book.thresholds
        features = extract_features(content, self.book.limits)
        findings = self.matched_rules(features)
        score = self.total_score(findings)
        decided = verdict_for_score(score, limits)
        document = features.document if quote or decided != Verdict.VERDICT_PASS else b""
        return ScreeningResult(score, decided, self.reasons(findings, document), limits)

    def matched_rules(self, features: MessageFeatures) -> dict[str, str]:
        """The rules that matched, each with a detail (that of text rules is added in `reasons`)."""
        fired = dict.fromkeys(self.matched_text_rules(features.document), "")
        for need, groups in self._groups:
            if need(features, self._lists):
                self.apply_measures(features, groups, fired)
        names = fired.keys()
        together = [r for r, all_, none in self._meta if names >= all_ and none.isdisjoint(names)]
        return fired | dict.fromkeys(together, "")

    def apply_measures(
        self, features: MessageFeatures, groups: Iterable[MeasureGroup], fired: dict[str, str]
    ) -> None:
        for measure_of, least, rules in groups:
            value, detail = measure_of(features, self._lists)
            if value < least:
                continue
            for rule in rules:
                if rule.at_least <= value < rule.below:
                    fired[rule.name] = detail or f"{value:.3g}"

    def matched_text_rules(self, document: bytes) -> list[str]:
        """The matching text rules. If the set runs out of memory, the patterns are tried one by
        one."""
        numbers = self._set.Match(document)
        if not numbers:  # then the pattern that always matches is missing too
            numbers = [n for n, each in enumerate(self._patterns) if each.search(document)]
        text = self.book.text
        return [text[number].name for number in numbers if number < len(text)]

    def total_score(self, fired: Iterable[str]) -> float:
        points = credit = 0.0
        for name in fired:
            score = self._scores[name]
            if score > 0:
                points += score
            else:
                credit += score
        return round(points + max(credit, -self.book.credit_max), 3)

    def reasons(self, fired: Mapping[str, str], document: bytes) -> tuple[Reason, ...]:
        scored = [name for name in fired if self._scores[name]]
        heaviest = sorted(scored, key=self._lightness.__getitem__)[:REASONS_MAX]
        quotes = self.matched_words(set(heaviest), document) if document else {}
        return tuple(
            Reason(
                rule=name,
                score=self._scores[name],
                detail=(fired[name] or quotes.get(name, ""))[:DETAIL_CHARS],
            )
            for name in heaviest
        )

    def matched_words(self, names: set[str], document: bytes) -> dict[str, str]:
        """The matched words of text rules: the set knows only which rules match, the pattern finds
        where."""
        found = {
            rule.name: pattern.search(document)
            for rule, pattern in zip(self.book.text, self._patterns, strict=True)
            if rule.name in names
        }
        return {
            name: match[0].decode(errors="replace")[-DETAIL_CHARS:]
            for name, match in found.items()
            if match
        }


def compile_patterns(book: Rulebook) -> "re2.Set":
    options = re2.Options()
    options.max_mem = SET_MEMORY_BYTES
    options.log_errors = False
    patterns = re2.Set.SearchSet(options)
    for rule in book.text:
        try:
            patterns.Add(rule.pattern)
        except re2.error as error:
            raise RuleError(f"{rule.name}: {error}: {rule.pattern}") from error
    patterns.Add("")  # always matches: a set returns nothing both for no match and for no memory
    patterns.Compile()
    return patterns


def group_by_measure(rules: Iterable[MeasureRule]) -> dict[str, list[MeasureRule]]:
    """Group the rules, so that each measure is computed once."""
    grouped: dict[str, list[MeasureRule]] = {}
    for rule in rules:
        if rule.measure not in MEASURES:
            raise RuleError(
                f"{rule.name}: unknown measure {rule.measure!r}; use one of {sorted(MEASURES)}"
            )
        grouped.setdefault(rule.measure, []).append(rule)
    return grouped


def group_by_need(
    measures: Mapping[str, Sequence[MeasureRule]],
) -> list[tuple[Need, list[MeasureGroup]]]:
    """Group consecutive measures with the same need; a rule that matches at zero needs nothing."""
    groups = []
    for name, rules in measures.items():
        least = min(each.at_least for each in rules)
        need = NEEDS.get(name, always) if least > 0 else always
        groups.append((need, MeasureGroup(MEASURES[name], least, rules)))
    rows = groupby(groups, key=itemgetter(0))
    return [(need, [group for _, group in row]) for need, row in rows]


def always(_: MessageFeatures, __: WordLists) -> bool:
    return True


def verdict_for_score(score: float, thresholds: Thresholds) -> Verdict.ValueType:
    if score >= thresholds.block:
        return Verdict.VERDICT_BLOCK
    if score >= thresholds.hold:
        return Verdict.VERDICT_HOLD
    return Verdict.VERDICT_PASS


def thresholds_of_tenant(hold: float, block: float, default: Thresholds) -> Thresholds:
    """A tenant's thresholds; 0 uses the default, and block is at least hold."""
    held = hold or default.hold
    return Thresholds(held, max(block or default.block, held))


def unreadable_result(
    rule: str, book: Rulebook, verdict: Verdict.ValueType, *, detail: str = ""
) -> ScreeningResult:
    """The result for a message that cannot be read, with its one reason."""
    limits = book.thresholds
    score = limits.block if verdict == Verdict.VERDICT_BLOCK else limits.hold
    return ScreeningResult(score, verdict, (Reason(rule=rule, score=score, detail=detail),), limits)
