"""Listings of egress sources in DNSBLs, as a policy source.

A listing that weighs enough suspends its source at once; two checks that no longer find it end it,
and the earlier rate is restored in steps, as after other suspensions.
"""

from collections.abc import Collection
from typing import NamedTuple

from services.router.domain.feedback_rules import FeedbackAction
from services.router.domain.ledger import LimitScope, ScopeKind, Suspension
from services.router.domain.limits import NO_LIMITS, Limits
from services.router.domain.overrides import Override, restored_s
from services.router.domain.reasons import WaitReason

LISTED_S = 86_400.0  # a listing that no check has confirmed for this long has ended
CONFIRMED_S = LISTED_S / 2  # how long a check that finds the same is no event
SUSPENDING_WEIGHT = 5.0
CANARY_PER_MINUTE = 60  # at least, after a suspension
CHECKS_TO_END = 2  # one after the other


class ListingAnswer(NamedTuple):
    """What a check has found in a list. If it lists the source: which address, the codes of the
    answer and what they mean, how much that weighs, and the reason in the list's words."""

    blocklist: str
    listed: bool
    address: str = ""
    codes: tuple[str, ...] = ()
    meaning: str = ""
    weight: float = 0.0
    text: str = ""


class ListingChanged(NamedTuple):
    """A check has found an egress source in a DNSBL, or no longer. suspends: the source sends
    nothing while it is listed; at the end of a listing, whether it did. confirmed: it was listed
    before. from_s: when it was found first. per_hour: the rate of the source before."""

    egress_id: str
    found: ListingAnswer
    at_s: float
    suspends: bool
    confirmed: bool = False
    from_s: float = 0.0
    per_hour: int = 0

    @property
    def blocklist(self) -> str:
        return self.found.blocklist

    @property
    def listed(self) -> bool:
        return self.found.listed


class SourceListings:
    """By egress source and list. weight_min: of a listing that suspends its source."""

    kinds = (ScopeKind.WARMUP,)
    reason = WaitReason.LISTED.value

    def __init__(self, *, weight_min: float = SUSPENDING_WEIGHT) -> None:
        self._weight_min = weight_min
        self._listings: dict[str, dict[str, ListingChanged]] = {}
        self._restored: dict[str, Override] = {}  # sources whose earlier rate returns in steps
        self._missed: dict[tuple[str, str], int] = {}  # checks that did not find a listing again

    def apply(self, event: ListingChanged) -> None:
        listings = self._listings.setdefault(event.egress_id, {})
        if event.listed:
            before = listings.get(event.blocklist)
            listings[event.blocklist] = event
            if before and before.suspends and not event.suspends:
                self._restore(event)
            return
        listings.pop(event.blocklist, None)
        if not listings:
            del self._listings[event.egress_id]
        if event.suspends:
            self._restore(event)

    def _restore(self, event: ListingChanged) -> None:
        scope = LimitScope(ScopeKind.WARMUP, event.egress_id)
        until_s, per_hour = event.at_s, event.per_hour
        if (earlier := self._restored.get(event.egress_id)) and earlier.until_s > until_s:
            return
        self._restored[event.egress_id] = Override(
            *(f"listed/{event.egress_id}", scope, FeedbackAction.SUSPEND_EGRESS, "listed", ""),
            *(event.from_s, until_s, restored_s(event.from_s, until_s)),
            *(CANARY_PER_MINUTE, per_hour),
        )

    def record(
        self, egress_id: str, found: ListingAnswer, *, at_s: float, per_hour: int = 0
    ) -> ListingChanged | None:
        """The event, if a check has found something new, or a listing must be confirmed before it
        would end. It is applied already. per_hour: the rate of the source now."""
        key = (egress_id, found.blocklist)
        known = self._listings.get(egress_id, {}).get(found.blocklist)
        suspends = found.weight >= self._weight_min
        if found.listed:
            self._missed.pop(key, None)
            if known and at_s - known.at_s < CONFIRMED_S and known.suspends == suspends:
                return None
        elif known is None or not self._is_missed(key):
            return None
        event = ListingChanged(
            egress_id,
            found if found.listed or known is None else known.found._replace(listed=False),
            at_s,
            suspends if found.listed or known is None else known.suspends,
            confirmed=known is not None and found.listed,
            from_s=known.from_s if known else at_s,
            per_hour=self._rate_before(egress_id, per_hour),
        )
        self.apply(event)
        return event

    def _is_missed(self, key: tuple[str, str]) -> bool:
        """Whether enough checks, with this one, have not found a listing again."""
        self._missed[key] = self._missed.get(key, 0) + 1
        if self._missed[key] < CHECKS_TO_END:
            return False
        del self._missed[key]
        return True

    def _rate_before(self, egress_id: str, per_hour: int) -> int:
        """The rate before the trouble, not that of the canary."""
        known = [one.per_hour for one in self._listings.get(egress_id, {}).values()]
        restored = self._restored.get(egress_id)
        return max([per_hour, *known, restored.per_hour if restored else 0])

    def in_force(self, now_s: float) -> list[ListingChanged]:
        """Those in force."""
        found = [each for listings in self._listings.values() for each in listings.values()]
        return sorted(each for each in found if each.at_s + LISTED_S > now_s)

    def retain(self, egress_ids: Collection[str]) -> None:
        """Forget what concerns sources that no longer exist."""
        kept = set(egress_ids)
        for egress_id in self._listings.keys() - kept:
            del self._listings[egress_id]
        for egress_id in self._restored.keys() - kept:
            del self._restored[egress_id]
        self._missed = {key: count for key, count in self._missed.items() if key[0] in kept}

    def limits_of(self, scope: LimitScope, now_s: float) -> Limits:
        restored = self._restored.get(scope.id)
        return restored.limits(now_s) if restored else NO_LIMITS

    def suspension_of(self, scope: LimitScope, now_s: float) -> Suspension | None:
        listings = self._listings.get(scope.id, {}).values()
        until_s = max((each.at_s + LISTED_S for each in listings if each.suspends), default=0.0)
        return Suspension(until_s, WaitReason.LISTED) if until_s > now_s else None
