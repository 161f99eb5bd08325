"""The quick ways to read a message end where the thorough ones do."""

import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.shield.domain.links import Place, link, place_of, urls
from services.shield.domain.reading import Limits, line, plain, read
from tests.unit.services.shield.letters import letter, rules

URL = re.compile(r"https?://[^\s<>\"')\]]+", re.IGNORECASE)
addresses = st.tuples(
    st.sampled_from(["http://", "HTTPS://", "//", "https:\\\\", "mailto:", "https:///", ""]),
    st.text(alphabet="ab.:@/\\?#[]1-é", max_size=30),
).map("".join)


def told(place: Place) -> list[object]:
    return [getattr(place, name) for name in Place.__slots__]


@given(addresses)
@example("http://[a/b]/c")
@example("https://user.name@host.example:80/")
def test_a_place_that_is_known_is_the_one_that_the_whole_address_tells(url: str) -> None:
    assert told(link(url).place) == told(place_of(url.strip().lower()))


@given(st.text() | st.lists(addresses | st.text()).map(" ".join))
@example("shttp://a.example xHTTPS://b.example http:// https://https://c.example")
def test_addresses_in_a_text_are_those_that_a_plain_search_finds(text: str) -> None:
    assert urls(text) == URL.findall(text)


@given(st.text() | st.text(alphabet="aA \n\t\x1c\xa0\u200b\u3000éÉ\u03a3\u03c3€ﬁe\u0301İ"))
def test_a_line_is_plain_and_in_lower_case_whichever_way_it_was_made(text: str) -> None:
    assert line(text) == (plain(text), plain(text).lower().encode())


@pytest.mark.parametrize("tag", ["a", "area"])
def test_elements_are_told_by_their_tags(tag: str) -> None:
    html = f'<{tag} href="http://a.example/x"></{tag}><img src=x><form><input type=PASSWORD></form>'
    page = read(letter(html=html), Limits()).page
    assert page.tags == [tag, "img", "form", "input"]
    assert page.passwords == 1


def test_a_map_of_links_alone_is_seen() -> None:
    assert "image_map" in rules(letter(html='<map><area href="http://a.example/x"></map>'))


def test_links_to_one_place_are_kept_together_in_their_order() -> None:
    text = "http://a.example/1 http://b.example/ http://a.example/2 http://a.example/1"
    places = read(letter(text=text), Limits()).places
    assert [(place.host, len(links)) for place, links in places.items()] == [
        ("a.example", 2),
        ("b.example", 1),
    ]
