"""Settings of shield, and errors in them."""

from pathlib import Path

import pytest

from kernel.errors import ConfigError
from services.shield.app import read_scorer
from services.shield.domain.rulebook import Rulebook
from services.shield.settings import Settings
from tests.unit.services.shield.samples import packed_model

SECRET = "c2VjcmV0LXNlY3JldC1zZWNyZXQtc2VjcmV0LTEyMzQ="


def configured(**values: object) -> Settings:
    return Settings(secret_keys=[SECRET], **values)  # type: ignore[arg-type]


def book(settings: Settings) -> Rulebook:
    return read_scorer(settings)[0].book


def test_the_default_thresholds_are_those_of_the_shipped_rules() -> None:
    assert book(configured()).thresholds.hold == 5


def test_an_operators_threshold_overrides_that_of_the_rules() -> None:
    assert book(configured(hold_score=7.5)).thresholds.hold == 7.5


def test_a_missing_rules_file_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"SHIELD_RULES_FILE .*nowhere"):
        book(configured(rules_file=tmp_path / "nowhere.toml"))


def test_an_invalid_rules_file_is_a_config_error(tmp_path: Path) -> None:
    path = tmp_path / "rules.toml"
    path.write_text('version = "1"\n[thresholds]\nhold = 5\nblock = 1\n')
    with pytest.raises(ConfigError, match="block above hold"):
        book(configured(rules_file=path))


def test_a_missing_model_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"SHIELD_MODEL_FILE .*nowhere"):
        book(configured(model_file=tmp_path / "nowhere.model"))


def test_a_damaged_model_is_a_config_error(tmp_path: Path) -> None:
    path = tmp_path / "shield.model"
    packed = bytearray(packed_model())
    packed[1000] ^= 1
    path.write_bytes(packed)
    with pytest.raises(ConfigError, match=r"SHIELD_MODEL_FILE .*damaged"):
        book(configured(model_file=path))
