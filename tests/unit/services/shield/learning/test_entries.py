"""The entries of a message survive being stored."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from bench.shield_model.made import made_mail
from services.shield.domain.learning.entries import (
    SIZE,
    PackedEntriesError,
    learned_entries,
    pack_entries,
    unpack_entries,
)
from services.shield.domain.model.text import text_entries
from services.shield.domain.parsing import ParsingLimits, parse_message


def test_entries_are_as_they_were() -> None:
    for _, _, content in made_mail(44, seed=3):
        entries = text_entries(parse_message(content, ParsingLimits()))
        packed = pack_entries(entries)
        found = unpack_entries(packed)
        assert found.tolist() == learned_entries(entries).tolist()
        assert len(packed) <= 2 * len(found) + 10
        assert (np.diff(found.astype(np.int64)) > 0).all()
        assert found.max() < SIZE


@settings(deadline=None)
@given(st.binary(max_size=40))
def test_other_bytes_are_refused_or_are_entries(packed: bytes) -> None:
    try:
        found = unpack_entries(packed)
    except PackedEntriesError:
        return
    assert (found < SIZE).all()


@pytest.mark.parametrize("cut", [1, 3, 5, 7])
def test_bytes_that_are_cut_are_refused(cut: int) -> None:
    packed = b"\2\0\0\0" + b"\1\0\2\0"
    assert unpack_entries(packed).tolist() == [1, 2]
    assert unpack_entries(b"").tolist() == []
    with pytest.raises(PackedEntriesError):
        unpack_entries(packed[:cut])
