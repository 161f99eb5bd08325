"""The quick ways to read a message end where the thorough ones do."""

from hypothesis import example, given
from hypothesis import strategies as st

from services.shield.domain.links import Place, link, place_of
from services.shield.domain.reading import Limits, read
from tests.unit.services.shield.letters import letter, rules

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


def test_a_map_of_links_alone_is_seen() -> None:
    assert "image_map" in rules(letter(html='<map><area href="http://a.example/x"></map>'))


def test_links_to_one_place_are_kept_together_in_their_order() -> None:
    text = "http://a.example/1 http://b.example/ http://a.example/2 http://a.example/1"
    places = read(letter(text=text), Limits()).places
    assert [(place.host, len(links)) for place, links in places.items()] == [
        ("a.example", 2),
        ("b.example", 1),
    ]
