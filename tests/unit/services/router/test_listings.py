"""Listings of egress sources: what they suspend, when they end, and how the rate returns."""

from contracts.router.v1.policies_pb2 import ListingCheck, PolicyCommand, PolicyEvent
from services.router.domain.egress import EgressSource
from services.router.domain.events import timestamp
from services.router.domain.ledger import LimitScope, ScopeKind
from services.router.domain.limits import NO_LIMITS
from services.router.domain.listing_events import found_listing, listing_changed, listing_of
from services.router.domain.listings import (
    CANARY_PER_MINUTE,
    LISTED_S,
    ListingAnswer,
    ListingChanged,
    SourceListings,
)
from services.router.domain.policies import DEFAULT_POOL
from services.router.domain.policy_engine import AdaptivePolicies
from services.router.domain.policy_events import to_stored
from services.router.domain.reasons import WaitReason
from tests.support.memory_cell import NOW_S, due_message, memory_cell

HOUR_S = 3600.0
SCOPE = LimitScope(ScopeKind.WARMUP, "e1")
CODES = ("127.0.0.2",)
HEAVY = ListingAnswer("zen", True, "192.0.2.10", CODES, "a source of spam", 8.0, "see zen.example")
LIGHT = HEAVY._replace(weight=3.0)
GONE = ListingAnswer("zen", False)


def test_a_listed_source_waits_until_it_is_delisted_or_the_listing_is_old() -> None:
    listings = SourceListings()
    listings.record("e1", HEAVY, at_s=0.0)
    suspension = listings.suspension_of(SCOPE, HOUR_S)
    assert suspension
    assert suspension.reason is WaitReason.LISTED
    assert listings.suspension_of(SCOPE, LISTED_S) is None


def test_a_light_listing_is_shown_and_suspends_nothing() -> None:
    listings = SourceListings()
    listed = listings.record("e1", LIGHT, at_s=0.0)
    assert listed
    assert not listed.suspends
    assert listings.suspension_of(SCOPE, HOUR_S) is None
    assert listings.in_force(HOUR_S) == [listed]
    listings.record("e1", GONE, at_s=HOUR_S)
    delisted = listings.record("e1", GONE, at_s=2 * HOUR_S)
    assert delisted
    assert not delisted.suspends
    assert listings.limits_of(SCOPE, 2 * HOUR_S) == NO_LIMITS


def test_two_checks_in_a_row_end_a_listing() -> None:
    listings = SourceListings()
    found = (HEAVY, GONE, HEAVY, GONE, GONE, GONE)
    changes = [listings.record("e1", one, at_s=at * HOUR_S) for at, one in enumerate(found)]
    assert [bool(one) for one in changes] == [True, False, False, False, True, False]
    assert changes[4]
    assert (changes[4].listed, changes[4].suspends) == (False, True)
    assert listings.suspension_of(SCOPE, 5 * HOUR_S) is None
    assert not listings.in_force(5 * HOUR_S)


def test_the_earlier_rate_returns_in_steps_from_a_canary() -> None:
    listings = SourceListings()
    listings.record("e1", HEAVY, at_s=0.0, per_hour=60_000)
    other = ListingAnswer("other", True, "192.0.2.10", CODES, "the same", 6.0)
    listings.record("e1", other, at_s=HOUR_S, per_hour=0)
    for at in (2, 3):
        listings.record("e1", GONE, at_s=at * HOUR_S)
    assert listings.suspension_of(SCOPE, 3 * HOUR_S)
    for at in (4, 5):
        listings.record("e1", ListingAnswer("other", False), at_s=at * HOUR_S)
    assert listings.suspension_of(SCOPE, 5 * HOUR_S) is None
    rates = [
        listings.limits_of(SCOPE, 5 * HOUR_S + step * HOUR_S).per_minute for step in (0, 1, 2, 3)
    ]
    assert rates == [CANARY_PER_MINUTE, 200, 500, 0]


def test_a_listing_that_becomes_lighter_suspends_no_longer() -> None:
    listings = SourceListings()
    listings.record("e1", HEAVY, at_s=0.0, per_hour=6000)
    lighter = listings.record("e1", LIGHT, at_s=HOUR_S)
    assert lighter
    assert not lighter.suspends
    assert listings.suspension_of(SCOPE, HOUR_S) is None
    assert listings.limits_of(SCOPE, HOUR_S).per_minute == CANARY_PER_MINUTE


def test_a_listing_is_confirmed_before_it_would_end_and_not_every_hour() -> None:
    listings = SourceListings()
    found = [listings.record("e1", HEAVY, at_s=hour * HOUR_S) for hour in range(49)]
    assert [(hour, one.confirmed) for hour, one in enumerate(found) if one] == [
        (0, False), (12, True), (24, True), (36, True), (48, True),
    ]  # fmt: skip
    assert {one.from_s for one in found if one} == {0.0}


def command(*found: ListingAnswer, at_s: float) -> PolicyCommand:
    check = ListingCheck(
        egress_id="e1", checked_at=timestamp(at_s), listings=map(found_listing, found)
    )
    return PolicyCommand(listing_check=check)


def test_findings_are_events_that_survive_a_change_of_the_scheduler() -> None:
    first, second = AdaptivePolicies(), AdaptivePolicies()
    assert not first.observe([], [command(HEAVY, at_s=NOW_S)], now_s=NOW_S)
    second.load(PolicyEvent.FromString(row) for _, row in map(to_stored, first.drain(NOW_S).events))
    assert second.listings.in_force(NOW_S) == first.listings.in_force(NOW_S)

    assert not second.observe([], [command(GONE, at_s=NOW_S + 1)], now_s=NOW_S + 1)
    assert second.observe([], [command(GONE, at_s=NOW_S + 2)], now_s=NOW_S + 2)
    third = AdaptivePolicies()
    rows = map(to_stored, second.drain(NOW_S + 2).events)
    third.load(PolicyEvent.FromString(row) for _, row in rows)
    assert third.listings.limits_of(SCOPE, NOW_S + 3) == second.listings.limits_of(SCOPE, NOW_S + 3)
    assert third.listings.limits_of(SCOPE, NOW_S + 3).per_minute == CANARY_PER_MINUTE


def test_a_listed_source_drains_to_the_others_of_its_pool() -> None:
    cell = memory_cell()
    cell.sources = [
        EgressSource(one, DEFAULT_POOL, f"192.0.2.1{one[1]}", f"{one}.example.com")
        for one in ("e1", "e2")
    ]
    cell.take_over(NOW_S)
    cell.cell.apply_results([], commands=[command(HEAVY, at_s=NOW_S)], now_s=NOW_S)
    for number in range(4):
        cell.add(due_message(number))
    assert {one.egress_id for one in cell.tick(NOW_S)} == {"e2"}


def test_mail_of_a_pool_whose_only_source_is_listed_waits_for_that_reason() -> None:
    cell = memory_cell()
    cell.sources = [EgressSource("e1", DEFAULT_POOL, "192.0.2.10", "e1.example.com")]
    cell.take_over(NOW_S)
    cell.cell.apply_results([], commands=[command(HEAVY, at_s=NOW_S)], now_s=NOW_S)
    cell.add(due_message())
    assert not cell.tick(NOW_S)
    [blocked] = [row.blocked for row in cell.queues.values()]
    assert blocked
    assert blocked.capacity.limited_by == "listed"
    for at_s in (NOW_S + 1, NOW_S + 2):
        cell.cell.apply_results([], commands=[command(GONE, at_s=at_s)], now_s=at_s)
    cell.tick(NOW_S + 2)
    assert [one.egress_id for one in cell.tick(NOW_S + 2)] == ["e1"]


def test_what_concerns_a_source_that_no_longer_exists_is_forgotten() -> None:
    adaptive = AdaptivePolicies()
    adaptive.observe([], [command(HEAVY, at_s=NOW_S)], now_s=NOW_S)
    adaptive.replace_sources([])
    assert not adaptive.listings.in_force(NOW_S)


def test_events_are_read_as_they_were_written() -> None:
    listing = ListingChanged("e1", HEAVY, NOW_S, True, True, from_s=NOW_S - HOUR_S, per_hour=77)
    assert listing_of(listing_changed(listing)) == listing
