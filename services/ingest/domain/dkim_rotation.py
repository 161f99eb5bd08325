"""The rotation of DKIM keys (RFC 6376 §3.1).

New keys are pending until DNS publishes them; then they sign. The old ones stay published for seven
days more, for mail that is still on its way.
"""

from collections.abc import Sequence
from datetime import datetime, timedelta

from contracts.ingest.v1.directory_pb2 import DkimKeys, Domain
from mail.domain_check import RecordCheck
from mail.records import Purpose
from services.ingest.domain.accepted_event import timestamp
from services.ingest.domain.verification import RIGHT

RETIRED_FOR = timedelta(days=7)
FIELDS = ("rsa_selector", "rsa_private_key", "ed25519_selector", "ed25519_private_key")


def is_rotating(domain: Domain) -> bool:
    """Whether keys are pending, or retired ones still published."""
    return domain.HasField("pending_keys") or domain.HasField("retired_keys")


def advance_rotation(domain: Domain, checks: Sequence[RecordCheck], now: datetime) -> None:
    """Take the next step of a rotation, if it is time: changes the domain in place."""
    if domain.HasField("retired_keys") and domain.retired_keys.retire_at.ToSeconds() <= (
        now.timestamp()
    ):
        domain.ClearField("retired_keys")
    if domain.HasField("pending_keys") and _are_published(domain.pending_keys, checks):
        _swap(domain, now)


def _are_published(keys: DkimKeys, checks: Sequence[RecordCheck]) -> bool:
    selectors = {keys.rsa_selector, keys.ed25519_selector}
    right = {
        one.record.name.partition(".")[0]
        for one in checks
        if one.record.purpose is Purpose.DKIM and one.status in RIGHT
    }
    return selectors <= right


def _swap(domain: Domain, now: datetime) -> None:
    old = DkimKeys(**{name: getattr(domain, name) for name in FIELDS})
    old.retire_at.CopyFrom(timestamp(now + RETIRED_FOR))
    for name in FIELDS:
        setattr(domain, name, getattr(domain.pending_keys, name))
    domain.retired_keys.CopyFrom(old)
    domain.ClearField("pending_keys")
