"""The events of listings: as decided, and as published and stored."""

from contracts.router.v1 import policies_pb2 as pb
from services.router.domain.events import timestamp, unix_s
from services.router.domain.listings import ListingAnswer, ListingChanged
from services.router.domain.policy_events import version_of


def listing_changed(event: ListingChanged) -> pb.ListingChanged:
    found = event.found
    return pb.ListingChanged(
        egress_id=event.egress_id,
        blocklist=found.blocklist,
        version=version_of(event.at_s),
        listed=found.listed,
        suspends=event.suspends,
        changed_at=timestamp(event.at_s),
        confirmed=event.confirmed,
        address=found.address,
        codes=found.codes,
        meaning=found.meaning,
        weight=found.weight,
        text=found.text,
        found_at=timestamp(event.from_s),
        per_hour=event.per_hour,
    )


def listing_of(event: pb.ListingChanged) -> ListingChanged:
    return ListingChanged(
        event.egress_id,
        found_of(event),
        unix_s(event.changed_at),
        event.suspends,
        event.confirmed,
        unix_s(event.found_at),
        event.per_hour,
    )


def found_of(one: pb.ListingChanged | pb.FoundListing) -> ListingAnswer:
    return ListingAnswer(
        one.blocklist,
        one.listed,
        one.address,
        tuple(one.codes),
        one.meaning,
        one.weight,
        one.text,
    )


def found_listing(one: ListingAnswer) -> pb.FoundListing:
    return pb.FoundListing(**one._asdict())
