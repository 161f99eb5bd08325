"""When messages expire after nobody was the scheduler."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from kernel import clock
from kernel.database import Transaction
from kernel.lease import Lease
from services.router.loops.message_expiry import GRACE_S, IDLE_MAX_S, MessageExpiry


class Queries:
    """A transaction that finds nothing to expire, and counts its queries."""

    def __init__(self) -> None:
        self.count = 0

    async def rows(self, *_: object) -> list[Any]:
        self.count += 1
        return []


@pytest.mark.parametrize(("idle_s", "paused"), [(10.0, False), (IDLE_MAX_S + 1, True)])
async def test_messages_are_tried_before_they_expire_if_nobody_was_the_scheduler(
    monkeypatch: pytest.MonkeyPatch, idle_s: float, paused: bool
) -> None:
    now_s = 1_000_000.0
    monkeypatch.setattr(clock, "monotonic_s", lambda: now_s)
    lease = SimpleNamespace(name="default", fence=1, idle_s=0.0)
    expiry, queries = MessageExpiry(cast(Lease, lease), interval_s=1.0), Queries()

    async def queries_after(seconds: float) -> bool:
        nonlocal now_s
        now_s, before = now_s + seconds, queries.count
        await expiry.run_once(cast(Transaction, queries))
        return queries.count > before

    assert await queries_after(1.0)
    assert not await queries_after(0.5)
    lease.fence, lease.idle_s = 2, idle_s
    assert await queries_after(1.0) is not paused
    assert await queries_after(GRACE_S - 1) is not paused
    assert await queries_after(2.0)
