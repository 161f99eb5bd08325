"""Suppressions: addresses that mail must not be sent to, which mail each of them stops, and their
events."""

from hashlib import sha256
from typing import NamedTuple

from contracts.router.v1.events_pb2 import SuppressionChanged
from services.router.domain.events import timestamp

UNSUBSCRIBE, MANUAL, BOUNCE, COMPLAINT = ORIGINS = ("unsubscribe", "manual", "bounce", "complaint")
"""The later is the stronger: it replaces the earlier, except an unsubscribe, which is kept beside
the others because it stops broadcasts alone."""
ADDRESS_HASH_BYTES = 16


def address_hash(address: str) -> bytes:
    """The key of a suppression. Case is ignored, in local parts too: a suppression of ann@ also
    covers Ann@."""
    return sha256(address.lower().encode()).digest()[:ADDRESS_HASH_BYTES]


class NewSuppression(NamedTuple):
    """list: whose broadcasts are suppressed; empty for all mail. expires_s: 0 for never. id: a
    UUIDv7, whose time is that of the suppression; empty for one of now."""

    address: str
    origin: str
    list: str = ""
    reason: str = ""
    note: str = ""
    expires_s: float = 0.0
    id: str = ""


class Suppression(NamedTuple):
    """A suppression. owner_id: the tenant, or the account whose tenants it holds for all."""

    suppression_id: str
    address: str
    origin: str
    source_id: str
    created_s: float
    owner_id: str
    account_wide: bool
    list: str
    reason: str
    note: str
    expires_s: float

    @property
    def tenant_id(self) -> str:
        return "" if self.account_wide else self.owner_id

    @property
    def account_id(self) -> str:
        return self.owner_id if self.account_wide else ""


def deciding_origin(origins: str | None, *, broadcast: bool) -> str:
    """The strongest origin of the suppressions that stop a message; empty if none does. An
    unsubscribed recipient still gets transactional mail.

    origins: of those that concern the message, separated by commas.
    """
    if not origins:
        return ""
    found = {one for one in origins.split(",") if broadcast or one != UNSUBSCRIBE}
    return next((one for one in reversed(ORIGINS) if one in found), "")


def suppression_added(one: Suppression, added_by: str = "") -> SuppressionChanged:
    """Of one that is new, or has a stronger origin than before. added_by: id of an API key."""
    return suppression_changed(one, "added", changed_by=added_by)


def suppression_removed(one: Suppression, removed_by: str) -> SuppressionChanged:
    return suppression_changed(one, "removed", changed_by=removed_by)


def suppression_changed(one: Suppression, change: str, *, changed_by: str) -> SuppressionChanged:
    return SuppressionChanged(
        suppression_id=one.suppression_id,
        change=change,
        origin=one.origin,
        tenant_id=one.tenant_id,
        account_id=one.account_id,
        address=one.address,
        list=one.list,
        reason=one.reason,
        note=one.note,
        source_id=one.source_id,
        created_at=timestamp(one.created_s),
        expires_at=timestamp(one.expires_s) if one.expires_s else None,
        changed_by=changed_by,
    )
