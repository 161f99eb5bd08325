"""Parse and check `rules.toml`."""

import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypeVar, Union, get_type_hints

from services.shield.domain.parsing import ParsingLimits

Field = Literal["any", "from", "reply-to", "subject", "header", "attachment", "link", "body"]
FIELDS = ("any", "from", "reply-to", "subject", "header", "attachment", "link", "body")


class RuleError(ValueError):
    """An invalid rule; the text names the rule and the error."""


@dataclass(frozen=True, slots=True)
class TextRule:
    """Matches if one of the patterns (RE2, lower case) is found in the field."""

    name: str
    any: tuple[str, ...]
    field: Field = "any"
    floor: float = 0.0  # the least score of a message that matches
    explanation: str = ""
    advice: str = ""

    @property
    def pattern(self) -> str:
        """A pattern for the document of ParsedMessage, which has a line per field; ^ is the start
        of a field."""
        if self.field == "any":
            return "|".join(f"(?:{each})" for each in self.any)
        places = (each[1:] if each.startswith("^") else f".*(?:{each})" for each in self.any)
        return f"(?m:^{self.field}: (?:{'|'.join(places)}))"


@dataclass(frozen=True, slots=True)
class MeasureRule:
    """Matches if at_least ≤ measure(message) < below."""

    name: str
    measure: str
    at_least: float
    below: float = float("inf")
    floor: float = 0.0
    explanation: str = ""
    advice: str = ""


@dataclass(frozen=True, slots=True)
class MetaRule:
    """Matches if all rules of `all` and none of `none` have matched."""

    name: str
    all: tuple[str, ...]
    none: tuple[str, ...] = ()
    floor: float = 0.0
    explanation: str = ""
    advice: str = ""


@dataclass(frozen=True, slots=True)
class TraitExplanation:
    """What a customer reads about something that the model counts, if it is above or below the
    usual; empty: nothing to say."""

    more: str = ""
    less: str = ""
    advice: str = ""


Rule: TypeAlias = Union[TextRule, MeasureRule, MetaRule]
R = TypeVar("R")  # a rule or a trait


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Scores from which a message is held or blocked."""

    hold: float
    block: float


@dataclass(frozen=True, slots=True)
class Rulebook:
    version: str
    thresholds: Thresholds
    text: tuple[TextRule, ...]
    measure: tuple[MeasureRule, ...]
    meta: tuple[MetaRule, ...]
    lists: Mapping[str, frozenset[str]] = field(default_factory=dict)
    brands: Mapping[str, frozenset[str]] = field(default_factory=dict)
    limits: ParsingLimits = field(default_factory=ParsingLimits)
    traits: Mapping[str, TraitExplanation] = field(default_factory=dict)
    advice: Mapping[str, str] = field(default_factory=dict)  # the texts of `advice` above

    @property
    def rules(self) -> tuple[Rule, ...]:
        return (*self.text, *self.measure, *self.meta)


def parse_rulebook(toml: str) -> Rulebook:
    """Raises RuleError, or tomllib.TOMLDecodeError with line and column."""
    document = tomllib.loads(toml)
    book = Rulebook(
        version=document["version"],
        thresholds=Thresholds(**document["thresholds"]),
        text=tuple(parse_rule(TextRule, row) for row in document.get("text", ())),
        measure=tuple(parse_rule(MeasureRule, row) for row in document.get("measure", ())),
        meta=tuple(parse_rule(MetaRule, row) for row in document.get("meta", ())),
        lists={name: frozenset(each) for name, each in document.get("lists", {}).items()},
        brands={name: frozenset(each) for name, each in document.get("brands", {}).items()},
        limits=ParsingLimits(**document.get("limits", {})),
        traits={
            name: parse_rule(TraitExplanation, each)
            for name, each in document.get("traits", {}).items()
        },
        advice=document.get("advice", {}),
    )
    if problems := lint(book):
        raise RuleError("; ".join(problems))
    return book


def parse_rule(shape: type[R], row: Mapping[str, Any]) -> R:
    """Build a rule from its table; lists become tuples. Unknown keys are refused."""
    known = set(get_type_hints(shape))
    if unknown := row.keys() - known:
        raise RuleError(
            f"{row.get('name', '?')}: unknown keys {sorted(unknown)}; use {sorted(known)}"
        )
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in row.items()}
    made: Callable[..., R] = shape
    try:
        return made(**values)
    except TypeError as error:
        raise RuleError(f"{row.get('name', '?')}: {error}") from error


def lint(book: Rulebook) -> list[str]:
    """Errors in rules that parse but make no sense."""
    return [
        *lint_duplicates(each.name for each in book.rules),
        *lint_advice(book),
        *lint_text(book.text),
        *lint_measures(book.measure),
        *lint_meta(book),
        *lint_thresholds(book.thresholds),
    ]


def lint_duplicates(names: Iterable[str]) -> list[str]:
    return [
        f"{name}: {times} rules have this name"
        for name, times in Counter(names).items()
        if times > 1
    ]


def lint_advice(book: Rulebook) -> list[str]:
    named = {each.name: each.advice for each in book.rules}
    named |= {name: each.advice for name, each in book.traits.items()}
    return [
        f"{name}: advice {key!r} is not in [advice]"
        for name, key in named.items()
        if key and key not in book.advice
    ]


def lint_text(rules: Sequence[TextRule]) -> list[str]:
    seen = Counter((each.field, pattern) for each in rules for pattern in each.any)
    return [
        *(
            f"{each.name}: unknown field {each.field!r}; use one of {FIELDS}"
            for each in rules
            if each.field not in FIELDS
        ),
        *(f"{each.name}: has no patterns" for each in rules if not each.any),
        *(
            f"{each.name}: {pattern!r} can never match; the text is one line in lower case"
            for each in rules
            for pattern in each.any
            if is_unreachable(pattern)
        ),
        *(f"{pattern!r} occurs {times} times" for (_, pattern), times in seen.items() if times > 1),
    ]


def is_unreachable(pattern: str) -> bool:
    r"""True for capitals outside of escapes such as \S and \B, a double space, or a newline."""
    plain = "".join(
        piece[1:] if number else piece for number, piece in enumerate(pattern.split("\\"))
    )
    return any(letter.isupper() for letter in plain) or "  " in pattern or "\\n" in pattern


def lint_measures(rules: Sequence[MeasureRule]) -> list[str]:
    return [
        f"{each.name}: below must be above at_least"
        for each in rules
        if each.below <= each.at_least
    ]


def lint_meta(book: Rulebook) -> list[str]:
    single = {each.name for each in book.text} | {each.name for each in book.measure}
    return [
        f"{each.name}: {name!r} is not a text or measure rule"
        for each in book.meta
        for name in (*each.all, *each.none)
        if name not in single
    ]


def lint_thresholds(thresholds: Thresholds) -> list[str]:
    fine = 0 < thresholds.hold < thresholds.block
    return [] if fine else ["thresholds: hold must be above 0 and block above hold"]
