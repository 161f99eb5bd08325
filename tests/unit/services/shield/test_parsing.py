"""Fast paths of the parsers give the same result as the slow ones."""

from hypothesis import example, given
from hypothesis import strategies as st

from services.shield.domain.links import UrlHost, create_link, parse_target
from services.shield.domain.parsing import ParsingLimits, parse_message
from tests.unit.services.shield.samples import make_content, rules

addresses = st.tuples(
    st.sampled_from(["http://", "HTTPS://", "//", "https:\\\\", "mailto:", "https:///", ""]),
    st.text(alphabet="ab.:@/\\?#[]1-é", max_size=30),
).map("".join)


def fields(target: UrlHost) -> list[object]:
    return [getattr(target, name) for name in UrlHost.__slots__]


@given(addresses)
@example("http://[a/b]/c")
@example("https://user.name@host.example:80/")
def test_a_cached_target_equals_that_of_the_whole_url(url: str) -> None:
    assert fields(create_link(url).target) == fields(parse_target(url.strip().lower()))


def test_links_of_an_image_map_are_found() -> None:
    assert "image_map" in rules(make_content(html='<map><area href="http://a.example/x"></map>'))


def test_links_are_grouped_by_target_in_order() -> None:
    text = "http://a.example/1 http://b.example/ http://a.example/2 http://a.example/1"
    targets = parse_message(make_content(text=text), ParsingLimits()).targets
    assert [(target.host, len(links)) for target, links in targets.items()] == [
        ("a.example", 2),
        ("b.example", 1),
    ]
