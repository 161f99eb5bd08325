"""Listings of a domain: what its record keeps, and which changes are events."""

from datetime import UTC, datetime, timedelta

from contracts.ingest.v1.directory_pb2 import Domain, DomainStatus
from services.ingest.domain.domain_listings import (
    ENDED_MAX,
    ListingAnswer,
    apply_listings,
    changes,
    current,
    listing_change,
)
from services.ingest.domain.verification import change_type

NOW = datetime(2026, 11, 30, tzinfo=UTC)
LISTED = ListingAnswer("surbl", "shop.example", True, ("127.0.0.8",), "phishing", "see surbl.org")
GONE = ListingAnswer("surbl", "shop.example", False)
HOST = ListingAnswer("surbl", "links.example", True, ("127.0.0.64",), "spam")


def copy(domain: Domain) -> Domain:
    other = Domain()
    other.CopyFrom(domain)
    return other


def test_a_listing_is_in_the_record_from_its_beginning_to_its_end() -> None:
    domain = Domain(name="shop.example")
    assert changes(domain, [LISTED, GONE]) == [LISTED]
    apply_listings(domain, [LISTED], NOW)
    [one] = current(domain)
    assert (one.blocklist, one.name, list(one.codes), one.meaning, one.text) == (
        "surbl", "shop.example", ["127.0.0.8"], "phishing", "see surbl.org",
    )  # fmt: skip
    assert one.found_at.ToDatetime(UTC) == NOW
    assert changes(domain, [LISTED]) == []

    apply_listings(domain, [GONE], NOW + timedelta(hours=1))
    assert current(domain) == []
    assert domain.listings[0].ended_at.ToDatetime(UTC) == NOW + timedelta(hours=1)
    assert changes(domain, [GONE]) == []


def test_the_last_listings_that_have_ended_are_kept() -> None:
    domain = Domain(name="shop.example")
    apply_listings(domain, [HOST], NOW)
    for hour in range(ENDED_MAX + 5):
        apply_listings(domain, [LISTED], NOW + timedelta(hours=2 * hour))
        apply_listings(domain, [GONE], NOW + timedelta(hours=2 * hour + 1))
    assert len(domain.listings) == ENDED_MAX + 1
    assert [one.name for one in current(domain)] == ["links.example"]
    assert min(one.found_at.ToDatetime(UTC) for one in domain.listings[1:]) > NOW


def test_each_change_is_an_event_with_what_has_changed() -> None:
    before = Domain(name="shop.example")
    listed = copy(before)
    apply_listings(listed, [LISTED, HOST], NOW)
    assert change_type(before, listed) == "domain.listed"
    assert listing_change(before, listed)[1] == (
        "shop.example in surbl: phishing; links.example in surbl: spam"
    )
    ended = copy(listed)
    apply_listings(ended, [GONE], NOW)
    assert change_type(listed, ended) == "domain.delisted"
    assert listing_change(listed, ended) == ("domain.delisted", "shop.example in surbl: phishing")
    assert listing_change(ended, copy(ended)) == ("", "")


def test_a_pause_or_a_status_is_reported_first() -> None:
    before = Domain(name="shop.example", status=DomainStatus.DOMAIN_STATUS_PENDING)
    after = copy(before)
    apply_listings(after, [LISTED], NOW)
    after.status = DomainStatus.DOMAIN_STATUS_VERIFIED
    assert change_type(before, after) == "domain.verified"
