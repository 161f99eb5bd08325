"""Rules are data, and data can be wrong: the linter says where."""

import tomllib
from pathlib import Path

import pytest

import services.shield
from services.shield.domain.rulebook import RuleError, parse
from services.shield.domain.scoring import Scorer

RULES = Path(services.shield.__file__).with_name("rules.toml").read_text()
HEAD = 'version = "1"\ncredit_max = 1.0\n[thresholds]\nhold = 5.0\nblock = 10.0\n'


def text_rule(pattern: str = "'win'", *, name: str = "win", more: str = "") -> str:
    return f'[[text]]\nname = "{name}"\nscore = 1.0\nany = [{pattern}]\n{more}\n'


def problems(toml: str) -> str:
    with pytest.raises(RuleError) as caught:
        Scorer(parse(HEAD + toml))
    return str(caught.value)


def test_the_rules_that_ship_have_no_problems() -> None:
    book = parse(RULES)
    Scorer(book)
    assert len(book.rules) > 100


def test_no_rule_that_ships_holds_a_message_alone_but_for_gtube_and_programs() -> None:
    book = parse(RULES)
    alone = {rule.name for rule in book.rules if rule.score >= book.thresholds.hold}
    assert alone == {
        "gtube",
        "attachment_program",
        "attachment_double",
        "attachment_archived_program",
    }


def test_two_rules_of_one_name_are_a_mistake() -> None:
    assert "win: 2 rules have this name" in problems(text_rule() + text_rule("'lose'"))


def test_a_pattern_in_capitals_could_never_match() -> None:
    assert "can never match" in problems(text_rule("'WIN'"))


def test_a_negated_class_is_not_mistaken_for_capitals() -> None:
    assert parse(HEAD + text_rule(r"'win\S+\W'")).text


def test_the_same_pattern_twice_is_a_mistake() -> None:
    assert "occurs 2 times" in problems(text_rule() + text_rule(name="again"))


def test_a_pattern_that_re2_cannot_read_is_named() -> None:
    assert "win:" in problems(text_rule("'(?=win)'"))


def test_a_misspelled_key_is_a_mistake_and_not_a_comment() -> None:
    assert "unknown keys ['feild']" in problems(text_rule(more='feild = "subject"'))


def test_a_field_that_no_message_has_is_a_mistake() -> None:
    assert "unknown field 'body text'" in problems(text_rule(more='field = "body text"'))


def test_a_rule_without_points_has_to_be_part_of_another() -> None:
    zero = text_rule().replace("1.0", "0.0")
    assert "win: scores 0" in problems(zero)
    meta = '[[meta]]\nname = "b"\nscore = 1.0\nall = ["win"]\n'
    assert parse(HEAD + zero + meta).meta


def test_a_meta_rule_of_a_rule_that_does_not_exist_is_a_mistake() -> None:
    meta = '[[meta]]\nname = "b"\nscore = 1.0\nall = ["winn"]\n'
    assert "'winn' is not a text or measure rule" in problems(text_rule() + meta)


def test_a_measure_that_nobody_wrote_is_a_mistake() -> None:
    measure = '[[measure]]\nname = "m"\nscore = 1.0\nmeasure = "moon_phase"\nat_least = 1\n'
    assert "unknown measure 'moon_phase'" in problems(measure)


def test_a_range_that_is_empty_is_a_mistake() -> None:
    measure = '[[measure]]\nname = "m"\nscore = 1.0\nmeasure = "words"\nat_least = 5\nbelow = 5\n'
    assert "below must be above" in problems(measure)


def test_block_must_lie_above_hold() -> None:
    toml = (HEAD + text_rule()).replace("block = 10.0", "block = 4.0")
    with pytest.raises(RuleError, match="block above hold"):
        parse(toml)


def test_a_file_that_is_no_toml_says_at_which_line() -> None:
    with pytest.raises(tomllib.TOMLDecodeError, match="line 1"):
        parse("version = ]")
