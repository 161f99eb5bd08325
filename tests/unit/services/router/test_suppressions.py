"""Which suppressions stop a message."""

import pytest

from services.router.domain.suppressions import (
    Suppression,
    deciding_origin,
    suppression_added,
    suppression_removed,
)

OWNER = "019ab000-0000-7000-8000-00000000000a"
ONE = Suppression("id", "a@x.example", "bounce", "m1", 5.5, OWNER, False, "", "bad_domain", "", 0.0)


@pytest.mark.parametrize(
    ("origins", "transactional", "broadcast"),
    [
        (None, "", ""),
        ("unsubscribe", "", "unsubscribe"),
        ("unsubscribe,unsubscribe", "", "unsubscribe"),
        ("unsubscribe,complaint", "complaint", "complaint"),
        ("bounce,unsubscribe,manual", "bounce", "bounce"),
        ("manual", "manual", "manual"),
    ],
)
def test_the_strongest_that_concerns_the_stream_decides(
    origins: str | None, transactional: str, broadcast: str
) -> None:
    assert deciding_origin(origins, broadcast=False) == transactional
    assert deciding_origin(origins, broadcast=True) == broadcast


def test_its_events_name_the_tenant_or_the_account() -> None:
    added = suppression_added(ONE)
    assert (added.change, added.tenant_id, added.account_id) == ("added", OWNER, "")
    assert (added.origin, added.reason, added.source_id) == ("bounce", "bad_domain", "m1")
    assert not added.HasField("expires_at")
    removed = suppression_removed(ONE._replace(account_wide=True, expires_s=9.0), "key")
    assert (removed.change, removed.tenant_id, removed.account_id) == ("removed", "", OWNER)
    assert (removed.changed_by, removed.expires_at.seconds) == ("key", 9)
