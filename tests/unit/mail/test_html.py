import pytest
from hypothesis import given
from hypothesis import strategies as st

from mail import html
from mail.html import Link

BODY = """<html><head><title>t</title><style>p{}</style></head><body>
<p>Hello <b>wor</b>ld &amp; co</p>
<div>Line<br>two <a href=" https://x.example/z ">Click  <i>me</i></a></div><a href="#top">up</a>
<img src="cid:1"><form></form><script>alert(1)</script></body></html>"""


def test_text_links_and_images_are_read() -> None:
    page = html.read_html(BODY)
    assert " ".join(page.text.split()) == "Hello wor ld & co Line two Click me up"
    assert page.links == [Link("https://x.example/z", "Click  me")]
    assert page.tags == ["a", "a", "img", "form", "script"]


def test_words_stay_whole_and_blocks_are_lines() -> None:
    assert html.to_text(BODY) == "Hello world & co\nLine\ntwo Click me\nup"


def test_a_title_is_not_text() -> None:
    assert html.to_text("<p>Hello</p><title>t</title>") == "Hello"


def test_noscript_content_is_read() -> None:
    assert html.to_text("<noscript>Hello</noscript>") == "Hello"


@pytest.mark.parametrize("tag", ["a", "area"])
def test_elements_are_listed_by_tag(tag: str) -> None:
    body = f'<{tag} href="http://a.example/x"></{tag}><img src=x><form><input type=PASSWORD></form>'
    page = html.read_html(body)
    assert page.tags == [tag, "img", "form", "input"]
    assert page.links == [Link("http://a.example/x", "")]
    assert page.password_fields == 1


def test_links_are_limited_and_tags_are_not() -> None:
    page = html.read_html('<a href="x">y</a>' * 9, links=3)
    assert (len(page.links), len(page.tags)) == (3, 9)


def test_a_page_of_unclosed_elements_is_read_partially() -> None:
    page = html.read_html("<p>first</p>" + "<div>é" * 50_000 + "last")
    assert "first" in page.text
    assert "last" not in page.text


def test_text_and_its_octets_give_the_same_page() -> None:
    assert html.read_html(BODY.encode()) == html.read_html(BODY)
    assert html.read_html("").text == ""


@given(st.text(max_size=200))
def test_any_html_can_be_read(body: str) -> None:
    assert html.read_html(f"<p>{body}") == html.read_html(f"<p>{body}".encode())


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ('<a href="https://a.example/?x=1&amp;y">Shop</a>!', "Shop <https://a.example/?x=1&y>!"),
        ("<A HREF=https://a.example/>Shop</A>", "Shop <https://a.example/>"),
        ("<a title='b>c' href = 'https://a.example'>Shop", "Shop"),
        ('<a href="https://a.example">https://a.example</a>', "https://a.example"),
        ('<a href="mailto:ann@a.example">ann@a.example</a>', "ann@a.example"),
        ('<a href="https://a.example"><img alt="a > b"></a>', "<https://a.example>"),
        ('<a href="#top">up</a> <a href="javascript:x()">on</a> <a name="href=x">x</a>', "up on x"),
    ],
)
def test_a_text_part_contains_the_targets_of_links(body: str, text: str) -> None:
    assert html.to_text(body, targets=True) == text


@pytest.mark.parametrize(
    ("body", "text"),
    [
        ("<p>Two\nlines</p> <p>are\r\n one", "Two lines\nare one"),
        ("<table><tr><td>a</td><td>b</td></tr><tr><th>c</table>d", "a b\nc\nd"),
        ("a<!-- <p>no > --> b<!--> c<!--[if mso]>no<![endif]--> d<!-- open", "a b c d"),
        ("<!--[if !mso]><!--><p>yes</p><!--<![endif]-->", "yes"),
        ("<!doctype html><script>if (a<b) '</p>'</script >x<style>a>b{}", "x"),
        ("<p title=\"1 > 0\" data-x='\"'>y</p><p don't>z</p>", "y\nz"),
        ("1 < 2 &lt;b&gt; &#8364; 3<4", "1 < 2 <b> € 3<4"),
        ("<scripted>seen</scripted><titles>too</titles>", "seentoo"),
    ],
)
def test_a_text_part_contains_what_a_browser_displays(body: str, text: str) -> None:
    assert html.to_text(body) == text


@pytest.mark.timeout(30)
@pytest.mark.parametrize(
    "piece",
    [
        "<p a{}",
        "<x{}>",
        "a{} ",
        '="',
        "<a x='",
        '<a ="',
        "<script>",
        "<!-- ",
        '<a href="',
        "<a",
        "&",
    ],
)
def test_a_text_part_of_a_megabyte_takes_bounded_time(piece: str) -> None:
    """Building a tree would be quadratic in the attributes of an element."""
    many = "".join(map(piece.format, range(1_000_000 // len(piece))))
    html.to_text(many, targets=True)
    html.to_text(f"<p {many}>", targets=True)
