from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail import tracking
from mail.tracking import Click, PixelOpen

KEY = b"k" * 32
CLICK = Click(UUID(int=1), UUID(int=2), "https://shop.example/a?b=1&c=2#d")


def marked(url: str) -> str:
    return f"T({url})"


@pytest.mark.parametrize(
    ("html", "expected"),
    [
        ('<a href="https://x.example/?a&amp;b">', '<a href="T(https://x.example/?a&amp;b)">'),
        ("<a b='c' href='http://x.example'>", "<a b='c' href='T(http://x.example)'>"),
        ('<A HREF = "https://x.example" id="1">', '<A HREF = "T(https://x.example)" id="1">'),
        ('<a b="a > b" href="https://x.example">', '<a b="a > b" href="T(https://x.example)">'),
        ("<a href=https://x.example/ id=1>", '<a href="T(https://x.example/)" id=1>'),
        ("<abbr href='https://x.example'>", None),
        ('<a <a href="https://x.example">', '<a <a href="T(https://x.example)">'),
        ('<area href="https://x.example">', '<area href="T(https://x.example)">'),
        ('<a href="mailto:a@b.example">', None),
        ('<a href="#top">', None),
        ('<a href="javascript:alert(1)">', None),
        ('<a href="//x.example">', None),
        ('<a data-notrack href="https://x.example">', None),
        ('<a href="https://x.example" data-track="off">', None),
        ('<img src="https://x.example/i.png">', None),
        ('<link href="https://x.example/s.css">', None),
        ('<a data-href="https://x.example">', None),
    ],
)  # fmt: skip
def test_only_the_address_of_a_link_changes(html: str, expected: str | None) -> None:
    assert tracking.rewrite_html(f"<p>{html}</p>", marked) == f"<p>{expected or html}</p>"


@given(st.text(st.sampled_from("<a href=\"'>htps:/x.é \n")))
def test_any_html_is_unchanged_except_links(html: str) -> None:
    assert tracking.rewrite_html(html, lambda url: url).count("<") == html.count("<")


def test_a_page_of_quotes_is_parsed_in_bounded_time() -> None:
    tracking.rewrite_html('<a "' * 5000 + "<a " + "x='" * 5000, marked)
    tracking.rewrite_html("<a href=" * 10000, marked)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("see https://x.example/a.", "see T(https://x.example/a)."),
        ("(https://x.example/a_(b))", "(T(https://x.example/a_(b)))"),
        ("<http://x.example>", "<T(http://x.example)>"),
        ("no link: x.example, mailto:a@b.example", "no link: x.example, mailto:a@b.example"),
    ],
)
def test_links_in_text_exclude_trailing_punctuation(text: str, expected: str) -> None:
    assert tracking.rewrite_text(text, marked) == expected


def test_the_pixel_is_at_the_end_of_the_body() -> None:
    assert tracking.add_pixel("<body>x</body>", "https://t.example/o?a=1&b").startswith(
        '<body>x<img src="https://t.example/o?a=1&amp;b"'
    )
    assert tracking.add_pixel("x", "https://t.example/o").endswith(">")


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


def test_a_target_outside_ascii_is_percent_encoded_in_location() -> None:
    assert tracking.redirect_location(
        Click(UUID(int=1), UUID(int=2), "https://x.example/ü")
    ).isascii()
