from hypothesis import given
from hypothesis import strategies as st

from mail import html
from mail.html import Link

BODY = """<html><head><title>t</title><style>p{}</style></head><body>
<p>Hello <b>wor</b>ld &amp; co</p>
<div>Line<br>two <a href=" https://x.example/z ">Click  <i>me</i></a></div><a href="#top">up</a>
<img src="cid:1"><form></form><script>alert(1)</script></body></html>"""


def test_a_reader_sees_text_links_and_images() -> None:
    page = html.read(BODY)
    assert page.text == "Hello world & co\nLine\ntwo Click me\nup"
    assert page.links == (Link("https://x.example/z", "Click me"),)
    assert page.images == ("cid:1",)
    assert page.forms == 1
    assert 0 < page.text_ratio < 1


def test_an_empty_body_is_no_division_by_zero() -> None:
    assert html.read("").text_ratio == 0.0


@given(st.text(max_size=200))
def test_any_text_can_be_read(body: str) -> None:
    assert html.read(f"<p>{body}").html_length == len(body) + 3
