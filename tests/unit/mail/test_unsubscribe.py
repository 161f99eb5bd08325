from base64 import urlsafe_b64decode
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail import signed_token, unsubscribe
from mail.headers import HeaderError
from mail.unsubscribe import Subscription

KEY, OLD = b"k" * 32, b"o" * 32
LEAVES = Subscription(UUID(int=1), UUID(int=2), "news", "ann@example.net")


def test_both_headers_are_written() -> None:
    assert unsubscribe.unsubscribe_fields("https://a.example/u/t", "leave@a.example?subject=t") == (
        b"List-Unsubscribe: <https://a.example/u/t>,\r\n <mailto:leave@a.example?subject=t>\r\n",
        b"List-Unsubscribe-Post: List-Unsubscribe=One-Click\r\n",
    )
    assert len(unsubscribe.unsubscribe_fields("https://a.example/u/t", one_click=False)) == 1


@pytest.mark.parametrize(
    "url", ["http://a.example/", "https://a.example/>, <x", "https://a\r\nX: y", ""]
)
def test_only_a_valid_https_url_is_accepted(url: str) -> None:
    with pytest.raises(HeaderError):
        unsubscribe.unsubscribe_fields(url)


def test_a_token_identifies_its_subscription_after_a_key_rotation() -> None:
    text = unsubscribe.sign(LEAVES, OLD)
    assert unsubscribe.verify(text, (KEY, OLD)) == LEAVES
    assert unsubscribe.verify(text, (KEY,)) is None


def test_a_token_does_not_show_its_recipient() -> None:
    """Links are forwarded, and are in the logs of proxies."""
    tokens = [
        unsubscribe.sign(Subscription(UUID(int=1), UUID(int=number), "", address), KEY)
        for number, address in ((2, "ann@example.net"), (3, "ann@example.net"), (3, "bob@x.net"))
    ]
    shown = [
        urlsafe_b64decode(one + "=" * (-len(one) % 4))[signed_token.MAC_OCTETS + 32 :]
        for one in tokens
    ]
    assert len(set(shown)) == 3
    assert not any(b"ann" in one or b"example" in one for one in shown)


@given(st.integers(0, 400), st.sampled_from("ABCabc019-_"))
def test_a_changed_unsubscribe_token_is_invalid(position: int, letter: str) -> None:
    text = unsubscribe.sign(LEAVES, KEY)
    position %= len(text)
    changed = text[:position] + letter + text[position + 1 :]
    assert unsubscribe.verify(changed, (KEY,)) == (LEAVES if changed == text else None)


@given(st.text(max_size=100))
def test_arbitrary_text_is_not_a_token(text: str) -> None:
    assert unsubscribe.verify(text, (KEY,)) is None


def test_a_token_is_valid_for_one_purpose_only() -> None:
    text = signed_token.sign(b"open", b"x" * 40, KEY)
    assert signed_token.verify(b"open", text, (KEY,)) == b"x" * 40
    assert unsubscribe.verify(text, (KEY,)) is None
    with pytest.raises(ValueError, match="16 octets"):
        signed_token.sign(b"open", b"", b"short")


PART = b'--xx\r\nContent-Disposition: form-data; name="List-Unsubscribe"\r\n\r\n'
FORM = PART + b"One-Click\r\n--xx--\r\n"


@pytest.mark.parametrize(
    ("kind", "body", "leaves"),
    [
        ("application/x-www-form-urlencoded", b"List-Unsubscribe=One-Click", True),
        ("", b"List-Unsubscribe=One-Click&x=1", True),
        ("multipart/form-data; boundary=xx", FORM, True),
        ("multipart/form-data; boundary=xx", FORM.replace(b"One-Click", b"No"), False),
        ("multipart/form-data; boundary=yy", FORM, False),
        ("application/x-www-form-urlencoded", b"List-Unsubscribe=no", False),
        ("application/x-www-form-urlencoded", b"", False),
        ("application/x-www-form-urlencoded", b"a" * 70_000, False),
        ("application/x-www-form-urlencoded", b"a=1&" * 101 + b"List-Unsubscribe=One-Click", False),
    ],
)
def test_a_one_click_post_is_recognized_in_both_encodings(
    kind: str, body: bytes, leaves: bool
) -> None:
    assert unsubscribe.is_one_click(kind, body) is leaves
