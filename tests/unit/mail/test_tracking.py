from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail import tracking
from mail.tracking import Click, PixelOpen

KEY = b"k" * 32
CLICK = Click(UUID(int=1), UUID(int=2), "https://shop.example/a?b=1&c=2#d")


def test_a_token_leads_to_its_target() -> None:
    text = tracking.click_token(CLICK, KEY)
    assert tracking.read_click(text, (KEY,)) == CLICK
    assert tracking.redirect_location(CLICK) == CLICK.url
    assert tracking.read_open(text, (KEY,)) is None
    opened = PixelOpen(UUID(int=1), UUID(int=2))
    assert tracking.read_open(tracking.open_token(opened, KEY), (KEY,)) == opened


@pytest.mark.parametrize(
    "url",
    ["javascript:alert(1)", "//evil.example", "https://", "http://x.example/\r\nX: y", "data:,x",
     "https:\\\\evil.example", "ftp://x.example", "https://x.example/ y", "http://[bad"],
)  # fmt: skip
def test_a_bad_target_is_never_signed(url: str) -> None:
    with pytest.raises(ValueError, match="not an http"):
        tracking.click_token(Click(UUID(int=1), UUID(int=2), url), KEY)


@given(st.integers(0, 10_000), st.sampled_from("ABCDEFabcdef0123456789-_="))
def test_a_changed_click_token_is_invalid(position: int, letter: str) -> None:
    text = tracking.click_token(CLICK, KEY)
    position %= len(text)
    changed = text[:position] + letter + text[position + 1 :]
    assert tracking.read_click(changed, (KEY,)) == (CLICK if changed == text else None)


def test_a_url_of_any_length_that_is_signed_is_read_again() -> None:
    longest = "https://x.example/" + "ü" * ((tracking.MAX_URL - 18) // 2)
    for url, is_valid in (
        (longest, True),
        (longest + "ab", False),
        ("http://x.example/\ud800", False),
    ):
        assert tracking.is_trackable(url) is is_valid
    click = Click(UUID(int=1), UUID(int=2), longest)
    assert tracking.read_click(tracking.click_token(click, KEY), (KEY,)) == click


def test_tokens_of_one_link_have_one_length() -> None:
    messages = [UUID(int=number) for number in (0, 1, 2**128 - 1)]
    assert (
        len({len(tracking.click_token(Click(one, one, CLICK.url), KEY)) for one in messages}) == 1
    )
    assert len({len(tracking.open_token(PixelOpen(one, one), KEY)) for one in messages}) == 1


def test_a_target_outside_ascii_is_percent_encoded_in_location() -> None:
    assert tracking.redirect_location(
        Click(UUID(int=1), UUID(int=2), "https://x.example/ü")
    ).isascii()
