"""The pages that recipients see, in the colours of a brand."""

from html.parser import HTMLParser
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel.brand import LOGO_URL, Brand
from mail.unsubscribe import Subscription
from services.events.api.tracking import pages
from tests.support.link_listener import LEAVE, Listener, header, request

LOGO = "https://img.acme.test:8443/logo.svg?v=2&s=1"
BRANDED = Brand("Acme & Söhne", "acme", logo_url=LOGO, color="#0a66c2")
COLORS = st.from_regex(r"#[0-9a-f]{6}", fullmatch=True)


class Elements(HTMLParser):
    """The start tags of a page with their attributes."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def every_page(brand: Brand, list_name: str = "offers") -> list[bytes]:
    subscription = Subscription(UUID(int=1), UUID(int=2), list_name)
    return [
        pages.unsubscribe_page(subscription, brand),
        pages.unsubscribed_page(brand),
        pages.problem_page("Title", "Detail", brand),
    ]


def test_every_page_has_the_logo_and_the_colour_of_the_brand() -> None:
    for page in every_page(BRANDED):
        [logo] = [found for tag, found in Elements(page).found if tag == "img"]
        assert logo == {"src": LOGO, "alt": "Acme & Söhne"}
        assert b"background: #0a66c2; color: #fff" in page
    policy = pages.content_policy(BRANDED).decode()
    assert policy.startswith("default-src 'none'; img-src https://img.acme.test:8443; style-src ")


def test_a_page_without_them_is_as_plain_as_before() -> None:
    for page in every_page(Brand("Acme")):
        assert {tag for tag, _ in Elements(page).found}.isdisjoint({"img", "header"})
        assert b"background" not in page
    assert b"img-src" not in pages.content_policy(Brand("Acme"))


@given(COLORS)
def test_the_text_of_a_button_can_be_read_on_every_colour(color: str) -> None:
    text = "#000000" if "color: #000;" in pages._button_style(color) else "#ffffff"
    assert pages.contrast(color, text) >= 4.5
    assert pages.contrast("#595959", "#ffffff") >= 3, "its border on the page"


def test_contrasts_are_those_of_the_standard() -> None:
    assert pages.contrast("#000000", "#ffffff") == pytest.approx(21)
    assert pages.contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)  # WebAIM's


@given(*[st.text()] * 4)
def test_nothing_of_a_brand_or_a_list_becomes_markup(
    name: str, logo_url: str, color: str, list_name: str
) -> None:
    brand = Brand(name, logo_url=logo_url, color=color)
    plain = [Elements(page) for page in every_page(Brand("A"))]
    for page, expected in zip(every_page(brand, list_name), plain, strict=True):
        found = [one for one in Elements(page).found if one[0] not in {"header", "img"}]
        assert found == expected.found
    assert pages.content_policy(brand).count(b";") <= 4


@pytest.mark.parametrize(
    "url",
    ["http://a.example/x.png", "https://a.example", "https://a.example/a b", "https://a.example/'",
     'https://a.example/"', "https://a.example/;x", "https://a.example/\n", "data:image/png,x",
     "https://user@a.example/", "https://a.example/#x", "javascript://a.example/x"],
)  # fmt: skip
def test_an_address_that_could_break_out_is_no_logo(url: str) -> None:
    assert LOGO_URL.fullmatch(url) is None


async def test_the_listener_sends_the_policy_of_the_brand() -> None:
    response = await Listener().exchange(request(f"/u/{LEAVE}"))
    assert header(response, "content-security-policy") == (
        "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; frame-ancestors 'none'"
    )
