"""What was added under one spelling is found under another."""

import pytest

from services.ingest.api.rest.suppressions import canonical, canonical_or_same


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
def test_an_address_is_looked_for_as_it_was_added(text: str) -> None:
    assert [canonical_or_same(text)] == canonical([text], "#/email")


@pytest.mark.parametrize("text", ["", "019ab000-0000-7000-8000-000000000000", "@", "a@"])
def test_what_is_no_address_is_looked_for_as_it_is(text: str) -> None:
    assert canonical_or_same(text) == text
