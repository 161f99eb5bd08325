"""Find the rules that a message matches."""

from collections.abc import Container, Iterable, Mapping, Sequence
from itertools import groupby
from operator import itemgetter
from typing import NamedTuple

import re2

from services.shield.domain.measures import MEASURES, NEEDS, Measure, NameLists, Need
from services.shield.domain.parsing import ParsedMessage
from services.shield.domain.rulebook import MeasureRule, Rulebook, RuleError

# Memory of the set's automaton, built as text is read; some hundred rules need a quarter of it.
SET_MEMORY_BYTES = 64 << 20
DETAIL_CHARS = 120


class RulesOfMeasure(NamedTuple):
    """A measure with the rules that use it."""

    measure_of: Measure
    least: float  # no rule matches below it
    rules: Sequence[MeasureRule]


class RuleMatcher:
    """The compiled rulebook. Thread-safe; one per process is enough."""

    def __init__(self, book: Rulebook) -> None:
        """Raises RuleError for an invalid RE2 pattern or an unknown measure."""
        self._text = book.text
        self._set = compile_patterns(book)
        self._patterns = [re2.compile(rule.pattern) for rule in book.text]
        self._groups = group_by_need(group_by_measure(book.measure))
        self._meta = [(r.name, frozenset(r.all), frozenset(r.none)) for r in book.meta]
        self._lists = NameLists(book.lists, book.brands)

    def matched_rules(self, message: ParsedMessage) -> dict[str, str]:
        """The rules that matched, each with a detail (that of text rules: `matched_words`)."""
        fired = dict.fromkeys(self.matched_text_rules(message.document), "")
        for need, groups in self._groups:
            if need(message, self._lists):
                self.apply_measures(message, groups, fired)
        names = fired.keys()
        together = [r for r, all_, none in self._meta if names >= all_ and none.isdisjoint(names)]
        return fired | dict.fromkeys(together, "")

    def apply_measures(
        self, message: ParsedMessage, groups: Iterable[RulesOfMeasure], fired: dict[str, str]
    ) -> None:
        for measure_of, least, rules in groups:
            value, detail = measure_of(message, self._lists)
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
        text = self._text
        return [text[number].name for number in numbers if number < len(text)]

    def matched_words(self, names: Container[str], document: bytes) -> dict[str, str]:
        """The matched words of text rules: the set knows only which rules match, the pattern finds
        where."""
        found = {
            rule.name: pattern.search(document)
            for rule, pattern in zip(self._text, self._patterns, strict=True)
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
) -> list[tuple[Need, list[RulesOfMeasure]]]:
    """Group consecutive measures with the same need; a rule that matches at zero needs nothing."""
    groups = []
    for name, rules in measures.items():
        least = min(each.at_least for each in rules)
        need = NEEDS.get(name, always) if least > 0 else always
        groups.append((need, RulesOfMeasure(MEASURES[name], least, rules)))
    rows = groupby(groups, key=itemgetter(0))
    return [(need, [group for _, group in row]) for need, row in rows]


def always(_: ParsedMessage, __: NameLists) -> bool:
    return True
