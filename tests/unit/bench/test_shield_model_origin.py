"""A model file says what it was trained on, so that whoever changes that notices."""

import json
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest

from bench.shield_model import linear
from bench.shield_model import origin as origin_module
from bench.shield_model.__main__ import MADE, SEED
from bench.shield_model.origin import (
    digest_of_made,
    digest_of_packs,
    digest_of_seen,
    origin_array,
    origin_of,
    origin_without_packs,
    read_origin,
)
from services.shield.domain.model.file import load_model, pack_model
from services.shield.domain.rulebook import parse_rulebook
from tests.unit.services.shield.samples import packed_model, rules_text

BOOK = parse_rulebook(rules_text())
SEEN = cache(lambda: digest_of_seen(BOOK))
TRAIN = "train shield's model again (`make shield-model`): it does not come from this trainer"


def test_the_shipped_model_was_trained_on_todays_made_mail_by_todays_settings() -> None:
    today = origin_without_packs(BOOK, made=MADE, seed=SEED)
    shipped = {name: read_origin(packed_model())[name] for name in today}
    assert shipped == json.loads(json.dumps(today)), TRAIN


def test_a_model_file_has_the_origin_of_its_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(origin_module, "digest_of_seen", lambda _: SEEN())
    origin = origin_of(tmp_path, BOOK, made=90, seed=3)
    model = replace(load_model(packed_model()), version="t")
    packed = pack_model(model, origin_array(origin))
    assert read_origin(packed) == json.loads(json.dumps(origin))
    assert load_model(packed).version.startswith("t-")
    assert read_origin(pack_model(model)) == {}


def test_other_settings_and_other_made_mail_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origin_module, "digest_of_seen", lambda _: SEEN())
    before = origin_without_packs(BOOK, made=90, seed=1)
    assert origin_without_packs(BOOK, made=90, seed=1) == before
    assert digest_of_made(90, 2) != before["made_digest"]
    monkeypatch.setattr(linear, "STEPS", 2)
    assert origin_without_packs(BOOK, made=90, seed=1) != before


def test_packs_have_digests_by_name(tmp_path: Path) -> None:
    (tmp_path / "enron_raw.jsonl.zst").write_bytes(b"a")
    (tmp_path / "phishing_pot_le2024.jsonl.zst").write_bytes(b"b")
    found = digest_of_packs(tmp_path)
    assert list(found) == ["enron_raw.jsonl.zst"]
    (tmp_path / "enron_raw.jsonl.zst").write_bytes(b"c")
    assert digest_of_packs(tmp_path) != found
