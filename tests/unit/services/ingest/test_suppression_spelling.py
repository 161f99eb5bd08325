"""A suppression is found under other spellings of its address."""

import pytest

from services.ingest.api.suppressions import canonical_addresses, canonical_or_same


@pytest.mark.parametrize(
    "text",
    [
        "ann@bücher.example",
        "Eve <eve@b.example>",
        "ju\u0308rgen@b.example",
        '"max"@b.example',
        "A@B.Example",
    ],
)
def test_an_address_is_looked_up_in_canonical_form(text: str) -> None:
    assert [canonical_or_same(text)] == canonical_addresses([text], "#/email")


@pytest.mark.parametrize("text", ["", "019ab000-0000-7000-8000-000000000000", "@", "a@"])
def test_a_text_that_is_not_an_address_is_looked_up_unchanged(text: str) -> None:
    assert canonical_or_same(text) == text
