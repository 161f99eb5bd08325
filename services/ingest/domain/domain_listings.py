"""Listings of a domain's names in block lists: they are in its record, with those that have ended
lately."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from contracts.ingest.v1.directory_pb2 import Domain, DomainListing
from services.ingest.domain.accepted_event import timestamp

ENDED_MAX = 20  # that are kept
CHECKS_TO_END = 2  # one after the other


class ListingAnswer(NamedTuple):
    """What a list says about a name. If it has it: the codes of the answer, what they mean, and
    why, in the words of the list."""

    blocklist: str
    name: str
    listed: bool
    codes: tuple[str, ...] = ()
    meaning: str = ""
    text: str = ""


def current(domain: Domain) -> list[DomainListing]:
    return [one for one in domain.listings if not one.HasField("ended_at")]


def changes(domain: Domain, found: Iterable[ListingAnswer]) -> list[ListingAnswer]:
    """Those that say something else than the record."""
    known = {(one.blocklist, one.name) for one in current(domain)}
    return [one for one in found if one.listed is not ((one.blocklist, one.name) in known)]


def apply_listings(domain: Domain, found: Sequence[ListingAnswer], now: datetime) -> None:
    """Change the record by findings, of which those without a listing are confirmed."""
    for one in changes(domain, found):
        if one.listed:
            domain.listings.add(
                blocklist=one.blocklist,
                name=one.name,
                codes=one.codes,
                meaning=one.meaning,
                text=one.text,
                found_at=timestamp(now),
            )
            continue
        for known in current(domain):
            if (known.blocklist, known.name) == (one.blocklist, one.name):
                known.ended_at.CopyFrom(timestamp(now))
    _forget_oldest(domain)


def _forget_oldest(domain: Domain) -> None:
    ended = [one for one in domain.listings if one.HasField("ended_at")]
    for one in sorted(ended, key=lambda each: each.ended_at.ToMicroseconds())[:-ENDED_MAX]:
        domain.listings.remove(one)


def listing_change(before: Domain, after: Domain) -> tuple[str, str]:
    """The type of the event of a change, and its reason; empty if the listings are the same."""
    had = {(one.blocklist, one.name) for one in current(before)}
    new = [one for one in current(after) if (one.blocklist, one.name) not in had]
    if new:
        return "domain.listed", "; ".join(map(describe, new))
    has = {(one.blocklist, one.name) for one in current(after)}
    ended = [one for one in current(before) if (one.blocklist, one.name) not in has]
    return ("domain.delisted", "; ".join(map(describe, ended))) if ended else ("", "")


def describe(one: DomainListing) -> str:
    return f"{one.name} in {one.blocklist}: {one.meaning}"
