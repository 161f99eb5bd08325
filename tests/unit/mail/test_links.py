"""The links of an HTML body, as a browser finds them."""

from html import escape

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from selectolax.lexbor import LexborHTMLParser

from mail.links import decode_attribute, end_of_body, find_links
from mail.tracking import is_trackable

URL = "https://x.example/"


def found(html: str) -> list[str]:
    return [html[start:end] for start, end, *_ in find_links(html)]


@pytest.mark.parametrize(
    ("html", "href"),
    [
        ('<a href="https://x.example/?a&amp;b">', "https://x.example/?a&amp;b"),
        ("<a b='c' href='http://x.example'>", "http://x.example"),
        ('<A HREF = "https://x.example" id="1">', "https://x.example"),
        ('<a b="a > b" href="https://x.example">', "https://x.example"),
        ("<a title=it's href='https://x.example'>", "https://x.example"),
        ("<a href=https://x.example/ id=1>", "https://x.example/"),
        ('<a <a href="https://x.example">', "https://x.example"),
        ('<a href="https://x.example" href="https://y.example">', "https://x.example"),
        ('<a/href="https://x.example"/>', "https://x.example"),
        ('<area href="https://x.example">', "https://x.example"),
        ('<!--[if mso]><a href="https://x.example"><![endif]-->', "https://x.example"),
        ('<!-- <b a="> --><a href="https://x.example">', "https://x.example"),
        ('<style>a > b { content: "<a" }</style><a href="https://x.example">', "https://x.example"),
        ('<p>1 < 2 <3</p ><a href="https://x.example">', "https://x.example"),
        ("<abbr href='https://x.example'>", None),
        ('<a href="mailto:a@b.example">', None),
        ('<a href="tel:+1">', None),
        ('<a href="#top">', None),
        ('<a href="javascript:alert(1)">', None),
        ('<a href="//x.example">', None),
        ('<a href="https://x.example/ y">', None),
        ('<a href="https://x.example" data-track="off">', None),
        ("<a href='https://x.example' DATA-TRACK=Off>", None),
        ("<a href>", None),
        ("<a href=>", None),
        ("<a>", None),
        ('<img src="https://x.example/i.png">', None),
        ('<link href="https://x.example/s.css">', None),
        ('<a data-href="https://x.example">', None),
        ("<img alt='<a href=\"https://x.example\">'>", None),
        ('<!-- <a href="https://x.example"> -->', None),
        ('<script>"<a href=\'https://x.example\'>"</script>', None),
        ('<textarea><a href="https://x.example"></textarea>', None),
        ('<a href="https://x.example', None),
        ('<b title="<a href=\'https://x.example\'>', None),
    ],
)  # fmt: skip
def test_the_links_are_those_of_a_browser(html: str, href: str | None) -> None:
    assert found(f"<p>{html}</p>") == ([] if href is None else [href])


@pytest.mark.parametrize(
    ("value", "decoded"),
    [
        ("?a=1&amp;b=2", "?a=1&b=2"),
        ("?a=1&copy=2&region=3&lt=4", "?a=1&copy=2&region=3&lt=4"),
        ("?a=&copy", "?a=©"),
        ("&copy;=1&copyright;", "©=1&copyright;"),
        ("&#38;&#x26;&#38=1", "&&&=1"),
        ("&unknown;&", "&unknown;&"),
        ("&amp;amp;", "&amp;"),
    ],
)
def test_character_references_are_those_of_attributes(value: str, decoded: str) -> None:
    assert decode_attribute(value) == decoded


ATTRIBUTE = st.text(st.sampled_from('&;=#xamplt copy19?/é"<>'), max_size=40)


@given(ATTRIBUTE)
@example("&#0;&#128;&#xD800;&notit;&not")
def test_a_browsers_engine_reads_the_same_value(value: str) -> None:
    quoted = value.replace('"', "&quot;")
    [node] = LexborHTMLParser(f'<a href="{quoted}">x</a>').css("a")
    assert decode_attribute(quoted) == (node.attrs["href"] or "")


URLS = st.builds(
    "{}://{}{}{}".format,
    st.sampled_from(["http", "https", "HTTPS"]),
    st.sampled_from(["x.example", "bücher.example", "u:p@x.example:8080", "[::1]"]),
    st.text(st.sampled_from("/?#&=;@,|!'()%é20~+$*:[]^`{}\"<>amp"), max_size=60).map(
        lambda rest: "/" + rest
    ),
    st.sampled_from(["", "#part", "?a=1&copy=2&amp;b"]),
)


@given(URLS, st.sampled_from(['"{}"', "'{}'"]))
def test_a_link_leads_where_it_led(url: str, quotes: str) -> None:
    page = f"<p>x <a class='b' href={quotes.format(escape(url))}>y</a> <a href=#>z</a></p>"
    found = [target for _, _, target, *_ in find_links(page)]
    assert found == ([url] if is_trackable(url) else [])


PAGE = st.lists(
    st.sampled_from(
        ["<a ", "<a", "href=",
         'href="', "href='", "https://x.example/a", '"', "'", ">", "<", "</a>",
         " ", "\n", "=", "/", "<!--", "-->", "<!--[if mso]>", "<b c='", "<script>", "</script>",
         "<title>", "</title>", "data-track=off", "x", "é", "&amp;", "<area/"]
    ),
    max_size=25,
).map("".join)  # fmt: skip


@given(PAGE)
def test_other_pages_have_no_other_links_than_a_browser_finds(page: str) -> None:
    seen = [url for _, _, url, *_ in find_links(page.replace("<!--[if mso]>", ""))]
    nodes = LexborHTMLParser(page.replace("<!--[if mso]>", "")).css("a,area")
    hrefs = [(node.attrs.get("href") or "").strip() for node in nodes]
    for url in seen:
        assert url in hrefs


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "piece",
    ['<a href="https://x.example/">y</a>', "<a href='", '<a href="', "<!--", "<b x=\"", "<a <", "-",
     "<script>", "<title><", "<style></style>", "</body ", "=", "<a x='y' ", "&amp"],
)  # fmt: skip
def test_four_megabytes_of_anything_are_read_in_linear_time(piece: str) -> None:
    page = piece * (4_000_000 // len(piece))
    assert len(list(find_links(page))) == (
        page.count(piece) if piece.startswith('<a href="https') else 0
    )
    end_of_body(page)


def test_the_pixel_is_at_the_end_of_the_body() -> None:
    page = "<body>x</body>y</BODY></html>"
    assert page[end_of_body(page) :] == "</BODY></html>"
    assert end_of_body("<p>x") == len("<p>x")
    assert end_of_body("</bodyguard>") == len("</bodyguard>")


@pytest.mark.parametrize(
    ("html", "href"),
    [
        ('<a  href="https://x.example/"class=b>', "https://x.example/"),
        ('<A\thref="https://x.example/" href="https://y.example/">', "https://x.example/"),
        ('<a href="https://x.example/" title="a > b" data-track=no>', None),
        ('<a data-track="on" href="https://x.example/">', "https://x.example/"),
        ('<a HREF="https://x.example/" data-tracking="off">', "https://x.example/"),
        ('<a xhref="https://y.example/" href="https://x.example/">', "https://x.example/"),
        ('<strong><span><s><td><tt><th>1</th><a href="https://x.example/">', "https://x.example/"),
        ('<style>a</style ><title>b</title><a href="https://x.example/">', "https://x.example/"),
        ('<a href="https://x.example/" title="', None),
    ],
)
def test_a_link_whose_href_comes_first_is_as_any_other(html: str, href: str | None) -> None:
    assert found(html) == ([] if href is None else [href])
