import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from mail.url import find_urls, is_ip, parse_authority

URL = re.compile(r"https?://[^\s<>\"')\]]+", re.IGNORECASE)
ADDRESSES = st.tuples(
    st.sampled_from(["http://", "HTTPS://", "//", "https:\\\\", "mailto:", "https:///", ""]),
    st.text(alphabet="ab.:@/\\?#[]1-é", max_size=30),
).map("".join)


@given(st.text() | st.lists(ADDRESSES | st.text()).map(" ".join))
@example("shttp://a.example xHTTPS://b.example http:// https://https://c.example")
def test_find_urls_matches_a_simple_search(text: str) -> None:
    assert find_urls(text) == URL.findall(text)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://example.com/a", ("", "example.com", "")),
        ("HTTPS://Example.COM.?a", ("", "Example.COM", "")),
        (
            "http://bank.example@elsewhere.example:8080/",
            ("bank.example", "elsewhere.example", "8080"),
        ),
        ("http://a@b@host.example/", ("a@b", "host.example", "")),
        ("https:\\\\host.example\\path", ("", "host.example", "")),
        ("//host.example?x=@y", ("", "host.example", "")),
        ("http://[2001:db8::1]:80/", ("", "[2001:db8::1]", "80")),
        ("mailto:ana@host.example", ("", "", "")),
        ("#top", ("", "", "")),
    ],
)
def test_the_host_of_a_link_is_that_of_browsers(url: str, expected: tuple[str, str, str]) -> None:
    assert parse_authority(url) == expected


@pytest.mark.parametrize("host", ["203.0.113.7", "3405803783", "0xCB007107", "[2001:db8::1]"])
def test_an_ip_address_is_recognized_in_each_spelling(host: str) -> None:
    assert is_ip(host)


@pytest.mark.parametrize("host", ["", "a.example", "203.0.113.7.a.example", "0xa.example", "12"])
def test_a_host_name_is_not_an_ip_address(host: str) -> None:
    assert not is_ip(host)
