"""Names and answers of DNS block lists."""

import pytest

from mail.dnsbl import LISTED_TESTS, UNLISTED_TESTS, is_listing, query_name


def test_the_octets_and_nibbles_are_reversed() -> None:
    assert query_name("192.0.2.99", "bl.example") == "99.2.0.192.bl.example"
    assert query_name("2001:db8:1:2:3:4:567:89ab", "bl.example") == (
        "b.a.9.8.7.6.5.0.4.0.0.0.3.0.0.0.2.0.0.0.1.0.0.0.8.b.d.0.1.0.0.2.bl.example"
    )


def test_the_test_points_are_those_of_the_rfc() -> None:
    assert [query_name(LISTED_TESTS[4], "z"), query_name(UNLISTED_TESTS[4], "z")] == [
        "2.0.0.127.z",
        "1.0.0.127.z",
    ]
    assert query_name(LISTED_TESTS[6], "z") == f"2.0.0.0.0.0.f.7.f.f.f.f.{'0.' * 20}z"


@pytest.mark.parametrize(
    ("answers", "listed"),
    [
        (["127.0.0.2"], True),
        (["127.0.0.4", "127.0.0.11"], True),
        ([], False),
        (None, None),  # no answer
        (["203.0.113.7"], None),  # the zone has moved
        (["127.255.255.254"], None),  # refused: an open resolver
        (["127.0.0.2", "127.255.255.255"], None),
    ],
)
def test_only_answers_within_the_loopback_network_are_listings(
    answers: list[str] | None, listed: bool | None
) -> None:
    assert is_listing(answers) is listed
