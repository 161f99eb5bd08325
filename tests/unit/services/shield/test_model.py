"""The model: what it reads of a message, and its file."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.ingest.v1.content_pb2 import Content
from services.shield.domain.model.file import MAGIC, ModelError, load_model, pack_model
from services.shield.domain.model.margin import SIZES, number_names
from services.shield.domain.model.structure import numbers_of
from services.shield.domain.model.text import (
    CHARACTER_BYTES,
    WORD_BYTES,
    named_places,
    named_words,
    text_entries,
    weighted_sum,
)
from services.shield.domain.parsing import ParsedMessage, ParsingLimits, parse_message
from tests.unit.services.shield.samples import make_content, packed_model, scorer

MAIL = make_content(
    "Reset your password",
    html='<p>Hi Ana, <a href="https://app.acme.example/reset?t=1">reset it</a> for $20.</p>',
)


def message(content: Content) -> ParsedMessage:
    return parse_message(content, ParsingLimits())


def text(words: str) -> ParsedMessage:
    return message(make_content("", text=words))


def test_the_shipped_model_is_small_and_its_version_names_its_bytes() -> None:
    model = load_model(packed_model())
    assert len(packed_model()) < 1 << 20
    assert pack_model(model).startswith(MAGIC)
    assert model.version.startswith("1-")
    assert model.hold < model.block


def test_a_file_that_is_no_model_is_refused() -> None:
    with pytest.raises(ModelError, match="not a model file"):
        load_model(b"PK\x03\x04")


@pytest.mark.parametrize("at", [len(MAGIC), len(MAGIC) + 40, -1])
def test_a_damaged_model_is_refused(at: int) -> None:
    packed = bytearray(packed_model())
    packed[at] ^= 1
    with pytest.raises(ModelError, match="damaged"):
        load_model(bytes(packed))


def test_a_model_with_other_numbers_is_refused() -> None:
    model = load_model(packed_model())
    object.__setattr__(model, "numbers", model.numbers[:-1])
    with pytest.raises(ModelError, match="another version"):
        load_model(pack_model(model))


def test_digits_case_and_repetition_change_no_entry() -> None:
    once, again = text_entries(text("pay $50 now ")), text_entries(text("PAY $71 NOW " * 2))
    assert set(once.words) < set(again.words)  # one pair more: now pay
    assert len(again.words) == len(once.words) + 1


def test_entries_are_within_their_tables_and_distinct() -> None:
    for found, size in zip(text_entries(message(MAIL)), SIZES, strict=True):
        assert 0 < len(found) == len(np.unique(found))
        assert found.max() < size


def test_words_and_places_are_named_by_their_buckets() -> None:
    entries = text_entries(message(MAIL))
    words, places = named_words(message(MAIL)), named_places(message(MAIL))
    assert {"reset", "reset your", "$00"} <= set(words.names)
    assert {"host acme", "path reset", "link reset"} <= set(places.names)
    assert set(words.buckets) <= set(entries.words)
    assert set(places.buckets) == set(entries.places)


def test_a_long_message_has_no_more_entries_than_its_beginning() -> None:
    words = " ".join(f"w{'abcdefgh'[n % 8]}{'xyz'[n % 3] * (n % 19)}" for n in range(40_000))
    long, cut = text(words), text(words[: WORD_BYTES + 100])
    assert [len(each) for each in text_entries(long)] == [len(each) for each in text_entries(cut)]
    assert len(text_entries(long).characters) <= 2 * (CHARACTER_BYTES + 2)


def test_tables_of_differences_shift_the_score_of_the_text() -> None:
    model, entries = scorer().model, text_entries(message(MAIL))
    deltas = [np.zeros(size, np.int32) for size in SIZES]
    assert weighted_sum(deltas, (1.0, 1.0, 1.0), entries) == 0
    deltas[0][entries.words[0]] = 7
    shift = weighted_sum(deltas, (1.0, 1.0, 1.0), entries)
    assert shift == pytest.approx(7 / len(entries.words) ** 0.5)
    assert model.text_score(entries) == pytest.approx(
        model.bias + weighted_sum(model.tables, model.scales, entries)
    )


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=300), st.text(max_size=300), st.text(max_size=60))
def test_any_message_has_the_same_finite_numbers(plain: str, page: str, sender: str) -> None:
    found = numbers_of(message(make_content(plain[:50], text=plain, html=page, sender=sender)))
    assert tuple(found) == number_names()
    assert all(map(np.isfinite, found.values()))
