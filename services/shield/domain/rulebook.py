"""The rules as data: what `rules.toml` may say, read into values, with every mistake named."""

import tomllib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias, TypeVar, Union, get_type_hints

from services.shield.domain.features import Limits

Field = Literal["any", "from", "reply-to", "subject", "header", "attachment", "link", "body"]
FIELDS = ("any", "from", "reply-to", "subject", "header", "attachment", "link", "body")


class RuleError(ValueError):
    """A rule that cannot be read; the text says which and what to do."""


@dataclass(frozen=True, slots=True)
class TextRule:
    """Fires when one of the patterns (RE2, lower case) is found in the field."""

    name: str
    score: float
    any: tuple[str, ...]
    field: Field = "any"
    pinned: bool = False  # the score is a decision, not a fit: too few examples to learn from

    @property
    def pattern(self) -> str:
        """For a search of the document of MessageFeatures: a line per field; ^ is its start."""
        if self.field == "any":
            return "|".join(f"(?:{each})" for each in self.any)
        places = (each[1:] if each.startswith("^") else f".*(?:{each})" for each in self.any)
        return f"(?m:^{self.field}: (?:{'|'.join(places)}))"


@dataclass(frozen=True, slots=True)
class MeasureRule:
    """Fires when at_least ≤ measure(message) < below."""

    name: str
    score: float
    measure: str
    at_least: float
    below: float = float("inf")
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class MetaRule:
    """Fires when all of these rules did, and none of those: signs that count only together."""

    name: str
    score: float
    all: tuple[str, ...]
    none: tuple[str, ...] = ()
    pinned: bool = False


Rule: TypeAlias = Union[TextRule, MeasureRule, MetaRule]
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From `hold` on a message waits for a human, from `block` on it fails."""

    hold: float
    block: float


@dataclass(frozen=True, slots=True)
class Rulebook:
    version: str
    thresholds: Thresholds
    credit_max: float  # what good signs can take off together: they are easy to fake
    text: tuple[TextRule, ...]
    measure: tuple[MeasureRule, ...]
    meta: tuple[MetaRule, ...]
    lists: Mapping[str, frozenset[str]] = field(default_factory=dict)
    brands: Mapping[str, frozenset[str]] = field(default_factory=dict)
    limits: Limits = field(default_factory=Limits)

    @property
    def rules(self) -> tuple[Rule, ...]:
        return (*self.text, *self.measure, *self.meta)


def parse(toml: str) -> Rulebook:
    """Raises RuleError, or tomllib.TOMLDecodeError with line and column."""
    document = tomllib.loads(toml)
    book = Rulebook(
        version=document["version"],
        thresholds=Thresholds(**document["thresholds"]),
        credit_max=document["credit_max"],
        text=tuple(parse_rule(TextRule, row) for row in document.get("text", ())),
        measure=tuple(parse_rule(MeasureRule, row) for row in document.get("measure", ())),
        meta=tuple(parse_rule(MetaRule, row) for row in document.get("meta", ())),
        lists={name: frozenset(each) for name, each in document.get("lists", {}).items()},
        brands={name: frozenset(each) for name, each in document.get("brands", {}).items()},
        limits=Limits(**document.get("limits", {})),
    )
    if problems := lint(book):
        raise RuleError("; ".join(problems))
    return book


def parse_rule(shape: type[R], row: Mapping[str, Any]) -> R:
    """A rule from its table; lists become tuples. A key that nobody reads is a mistake."""
    known = set(get_type_hints(shape))
    if unknown := row.keys() - known:
        raise RuleError(
            f"{row.get('name', '?')}: unknown {sorted(unknown)}; known: {sorted(known)}"
        )
    values = {key: tuple(v) if isinstance(v, list) else v for key, v in row.items()}
    made: Callable[..., R] = shape
    try:
        return made(**values)
    except TypeError as error:
        raise RuleError(f"{row.get('name', '?')}: {error}") from error


def lint(book: Rulebook) -> list[str]:
    """What is wrong with rules that can be read but not meant."""
    return [
        *lint_duplicates(each.name for each in book.rules),
        *lint_unused(book),
        *lint_text(book.text),
        *lint_measures(book.measure),
        *lint_meta(book),
        *lint_thresholds(book.thresholds),
    ]


def lint_duplicates(names: Iterable[str]) -> list[str]:
    return [f"{name}: named {times} times" for name, times in Counter(names).items() if times > 1]


def lint_unused(book: Rulebook) -> list[str]:
    """Rules that change nothing: no points, and no part in another rule."""
    parts = {name for each in book.meta for name in (*each.all, *each.none)}
    return [
        f"{each.name}: scores 0 and is no part of another rule; remove it"
        for each in book.rules
        if not each.score and each.name not in parts
    ]


def lint_text(rules: Sequence[TextRule]) -> list[str]:
    seen = Counter((each.field, pattern) for each in rules for pattern in each.any)
    return [
        *(
            f"{each.name}: field {each.field!r} is none of {FIELDS}"
            for each in rules
            if each.field not in FIELDS
        ),
        *(f"{each.name}: no patterns" for each in rules if not each.any),
        *(
            f"{each.name}: {pattern!r} can never match: the text is in lower case, in one line"
            for each in rules
            for pattern in each.any
            if unreachable(pattern)
        ),
        *(f"{pattern!r} stands {times} times" for (_, pattern), times in seen.items() if times > 1),
    ]


def unreachable(pattern: str) -> bool:
    """Capitals outside of escapes such as \\S and \\B, a double space, or a newline."""
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
