"""The linter of the rules."""

import tomllib
from pathlib import Path

import pytest

import services.shield
from services.shield.domain.matching import RuleMatcher
from services.shield.domain.rulebook import RuleError, parse_rulebook
from services.shield.domain.scoring import Scorer
from tests.unit.services.shield.samples import scorer

RULES = Path(services.shield.__file__).with_name("rules.toml").read_text()
HEAD = 'version = "1"\n[thresholds]\nhold = 5.0\nblock = 10.0\n'


def text_rule(pattern: str = "'win'", *, name: str = "win", more: str = "") -> str:
    return f'[[text]]\nname = "{name}"\nfloor = 1.0\nany = [{pattern}]\n{more}\n'


def problems(toml: str) -> str:
    with pytest.raises(RuleError) as caught:
        Scorer(parse_rulebook(HEAD + toml), scorer().model)
    return str(caught.value)


def test_the_shipped_rules_have_no_problems() -> None:
    book = parse_rulebook(RULES)
    RuleMatcher(book)
    assert len(book.rules) > 100


def test_only_gtube_and_executables_hold_a_message_against_the_model() -> None:
    book = parse_rulebook(RULES)
    assert {rule.name for rule in book.rules if rule.floor} == {
        "gtube",
        "attachment_program",
        "attachment_double",
        "attachment_archived_program",
    }


def test_every_shipped_rule_and_trait_has_words_for_a_customer() -> None:
    book = parse_rulebook(RULES)
    assert [each.name for each in book.rules if not (each.explanation and each.advice)] == []
    assert [name for name, each in book.traits.items() if not each.advice] == []
    assert book.traits.keys() - {"words", "places", "learned"} <= set(scorer().model.numbers)


def test_an_unknown_advice_is_refused() -> None:
    assert "win: advice 'sleep' is not in [advice]" in problems(text_rule(more='advice = "sleep"'))


def test_a_duplicate_rule_name_is_refused() -> None:
    assert "win: 2 rules have this name" in problems(text_rule() + text_rule("'lose'"))


def test_a_pattern_in_capitals_is_refused() -> None:
    assert "can never match" in problems(text_rule("'WIN'"))


def test_an_escaped_class_in_capitals_is_accepted() -> None:
    assert parse_rulebook(HEAD + text_rule(r"'win\S+\W'")).text


def test_a_duplicate_pattern_is_refused() -> None:
    assert "occurs 2 times" in problems(text_rule() + text_rule(name="again"))


def test_an_invalid_pattern_is_named() -> None:
    assert "win:" in problems(text_rule("'(?=win)'"))


def test_a_misspelled_key_is_refused() -> None:
    assert "unknown keys ['feild']" in problems(text_rule(more='feild = "subject"'))


def test_an_unknown_field_is_refused() -> None:
    assert "unknown field 'body text'" in problems(text_rule(more='field = "body text"'))


def test_a_rule_that_the_model_does_not_know_needs_a_floor_or_another_rule() -> None:
    idle = text_rule().replace("floor = 1.0\n", "")
    assert "win: unknown to the model" in problems(idle)
    meta = '[[meta]]\nname = "b"\nfloor = 1.0\nall = ["win"]\n'
    assert Scorer(parse_rulebook(HEAD + idle + meta), scorer().model)


def test_a_meta_rule_with_an_unknown_rule_is_refused() -> None:
    meta = '[[meta]]\nname = "b"\nfloor = 1.0\nall = ["winn"]\n'
    assert "'winn' is not a text or measure rule" in problems(text_rule() + meta)


def test_an_unknown_measure_is_refused() -> None:
    measure = '[[measure]]\nname = "m"\nfloor = 1.0\nmeasure = "moon_phase"\nat_least = 1\n'
    assert "unknown measure 'moon_phase'" in problems(measure)


def test_an_empty_range_is_refused() -> None:
    measure = (
        '[[measure]]\nname = "m"\nfloor = 1.0\nmeasure = "word_count"\nat_least = 5\nbelow = 5\n'
    )
    assert "below must be above" in problems(measure)


def test_block_must_be_above_hold() -> None:
    toml = (HEAD + text_rule()).replace("block = 10.0", "block = 4.0")
    with pytest.raises(RuleError, match="block above hold"):
        parse_rulebook(toml)


def test_invalid_toml_is_reported_with_its_line() -> None:
    with pytest.raises(tomllib.TOMLDecodeError, match="line 1"):
        parse_rulebook("version = ]")
