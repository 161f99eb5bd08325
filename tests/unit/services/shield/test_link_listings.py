"""Which hosts of a message are looked up in block lists, and what listings add to its score."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contracts.shield.v1.events_pb2 import ScoreReason
from contracts.shield.v1.shield_service_pb2 import ScoreResponse
from services.shield.domain.link_hosts import HOSTS_MAX, hosts_of_links, queried_host
from services.shield.domain.link_listings import LinkListing, add_listings, names_of
from services.shield.domain.links import create_link
from services.shield.domain.screening import ResponseExtra, encode_request, screen
from tests.unit.services.shield.samples import BLOCK, HOLD, PASS, make_content, scorer

BAD = LinkListing("bad.example", "surbl", "PH: a phishing site", 8.0, "https://surbl.org/")
LIGHT = LinkListing("grey.example", "uribl", "grey", 2.0)


@pytest.mark.parametrize(
    ("host", "queried"),
    [
        ("shop.example", "shop.example"),
        ("bücher.example", "xn--bcher-kva.example"),
        ("192.0.2.7", "192.0.2.7"),
        ("3221225991", ""),  # one number
        ("0xc0.0x0.0x2.0x7", ""),
        ("[2001:db8::1]", ""),
        ("localhost", ""),
        ("a b.example", ""),
        (f"{'a' * 64}.example", ""),
        ("", ""),
    ],
)
def test_names_and_addresses_are_looked_up_and_nothing_else(host: str, queried: str) -> None:
    assert queried_host(host) == queried


@given(st.text(max_size=300))
def test_whatever_a_sender_writes_is_a_name_of_dns_or_left_out(host: str) -> None:
    found = queried_host(host)
    assert found.isascii()
    assert len(found) <= 255
    assert all(part and len(part) <= 63 for part in found.split(".")) or not found


def test_each_host_is_looked_up_once_and_many_are_bounded() -> None:
    urls = ["https://a.example/x", "https://a.example:8443/y", "https://b.example/"]
    many = [f"https://h{number}.example/" for number in range(2 * HOSTS_MAX)]
    targets = [create_link(one).target for one in (*urls, *many)]
    found = hosts_of_links(targets)
    assert found[:2] == ["a.example", "b.example"]
    assert len(found) == HOSTS_MAX


def answer_for(extra: ResponseExtra) -> ScoreResponse:
    content = make_content(html='<a href="https://www.bad.example/x">go</a> http://192.0.2.7/')
    limits = scorer().book.thresholds
    request = encode_request(content.SerializeToString(), limits, extra)
    [answer] = screen(scorer(), [request])
    return ScoreResponse.FromString(answer)


def test_a_screening_names_its_hosts_only_if_lists_are_queried() -> None:
    assert names_of(answer_for(ResponseExtra.NONE)) == set()
    assert names_of(answer_for(ResponseExtra.REASONS)) == set()
    found = answer_for(ResponseExtra.HOSTS)
    assert "www.bad.example" in found.link_hosts
    assert found.sender_domain


def response(score: float = -3.0, *reasons: ScoreReason) -> ScoreResponse:
    return ScoreResponse(
        verdict=PASS if score < 5 else HOLD, score=score, hold_score=5.0, block_score=10.0,
        reasons=reasons, link_hosts=["www.bad.example", "fine.example"],
        sender_domain="sender.example",
    )  # fmt: skip


def test_a_listed_link_is_a_floor_with_reason_and_advice() -> None:
    found = response()
    add_listings(found, {"www.bad.example": [BAD], "fine.example": []}, with_reasons=False)
    assert (found.verdict, found.score) == (HOLD, 8.0)
    [reason] = found.reasons
    assert (reason.rule, reason.score) == ("link_listed", 8.0)
    assert reason.detail == "bad.example in surbl: PH: a phishing site"
    assert reason.explanation == "A link leads to a domain or an address that a block list has."
    assert "https://surbl.org/" in reason.advice


def test_the_domain_of_the_sender_counts_too() -> None:
    found = response()
    add_listings(found, {"sender.example": [BAD]}, with_reasons=False)
    assert (found.verdict, found.reasons[0].rule) == (HOLD, "sender_listed")


def test_a_light_listing_holds_nothing_and_is_shown_in_a_dry_run() -> None:
    for with_reasons in (False, True):
        found = response()
        add_listings(found, {"fine.example": [LIGHT]}, with_reasons=with_reasons)
        assert (found.verdict, found.score) == (PASS, 2.0)
        assert [one.rule for one in found.reasons] == (["link_listed"] if with_reasons else [])


def test_a_listing_never_lowers_what_the_model_has_found() -> None:
    words = ScoreReason(rule="words", score=9.0)
    found = response(9.5, words)
    add_listings(found, {"www.bad.example": [BAD]}, with_reasons=False)
    assert (found.verdict, found.score) == (HOLD, 9.5)
    assert [one.rule for one in found.reasons] == ["words", "link_listed"]
    blocked = response(12.0, words)
    blocked.verdict = BLOCK
    add_listings(blocked, {"www.bad.example": [BAD]}, with_reasons=False)
    assert (blocked.verdict, blocked.score) == (BLOCK, 12.0)


def test_without_listings_nothing_changes() -> None:
    found = response()
    add_listings(found, {}, with_reasons=True)
    assert found == response()
