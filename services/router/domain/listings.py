"""Listings of egress sources in DNSBLs, as a policy source."""

from collections.abc import Collection
from typing import NamedTuple

from services.router.domain.ledger import Scope, ScopeKind, Suspension
from services.router.domain.limits import NO_LIMITS, Limits
from services.router.domain.reasons import WaitReason

LISTED_S = 86_400.0  # a listing that no check has confirmed for this long has ended
CONFIRMED_S = LISTED_S / 2  # how long a check that finds the same is no event


class ListingChanged(NamedTuple):
    """A check has found an egress source in a DNSBL, or no longer. suspends: mail from a listed
    source would be refused widely, so that it waits. confirmed: it was listed before."""

    egress_id: str
    zone: str
    listed: bool
    suspends: bool
    at_s: float
    confirmed: bool = False


class Listings:
    """By egress source and zone. suspends: a listed source sends nothing."""

    kinds = (ScopeKind.WARMUP,)
    reason = ""

    def __init__(self, *, suspends: bool = True) -> None:
        self._suspends = suspends
        self._listings: dict[str, dict[str, ListingChanged]] = {}

    def apply(self, event: ListingChanged) -> None:
        zones = self._listings.setdefault(event.egress_id, {})
        if event.listed:
            zones[event.zone] = event
        elif zones.pop(event.zone, None) and not zones:
            del self._listings[event.egress_id]

    def record(
        self, egress_id: str, zone: str, *, listed: bool, at_s: float
    ) -> ListingChanged | None:
        """The event, if a check has found something new, or a listing must be confirmed before it
        would end. It is applied already."""
        known = self._listings.get(egress_id, {}).get(zone)
        if known is None and not listed:
            return None
        is_fresh = known is not None and at_s - known.at_s < CONFIRMED_S
        if known and listed and is_fresh and known.suspends == self._suspends:
            return None
        confirmed = known is not None and listed
        event = ListingChanged(egress_id, zone, listed, self._suspends, at_s, confirmed)
        self.apply(event)
        return event

    def in_force(self, now_s: float) -> list[ListingChanged]:
        """Those in force."""
        zones = [each for found in self._listings.values() for each in found.values()]
        return sorted(each for each in zones if each.at_s + LISTED_S > now_s)

    def retain(self, egress_ids: Collection[str]) -> None:
        """Forget the listings of sources that no longer exist."""
        for egress_id in self._listings.keys() - set(egress_ids):
            del self._listings[egress_id]

    def limits_of(self, _: Scope, __: float) -> Limits:
        return NO_LIMITS

    def suspension_of(self, scope: Scope, now_s: float) -> Suspension | None:
        listings = self._listings.get(scope.id, {}).values()
        until_s = max((each.at_s + LISTED_S for each in listings if each.suspends), default=0.0)
        return Suspension(until_s, WaitReason.LISTED) if until_s > now_s else None
