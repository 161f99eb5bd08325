"""The limits of scopes and their use, a page at a time, as they are stored."""

from collections.abc import Collection, Sequence
from math import isfinite
from typing import NamedTuple

from contracts.router.v1 import policy_service_pb2 as pb
from kernel.database import Transaction
from services.router.domain.events import timestamp
from services.router.domain.ledger import LimitScope, LimitUsage, Path
from services.router.domain.message import ScheduledQueue
from services.router.domain.policy_engine import AdaptivePolicies
from services.router.domain.scopes import CellCapacity
from services.router.store import results, usage

CHUNK = 1_000  # scopes that are looked at together
LAST = "~"  # after the name of every kind of scope


class LimitQuery(NamedTuple):
    """Which limits to read, by scope and limit, backwards. contains: a part of the scope. after:
    the last scope and limit of the page before; empty for the first page."""

    limit: int
    contains: str = ""
    after: tuple[str, str] = ("", "")


async def list_limits(
    tx: Transaction,
    page: LimitQuery,
    *,
    scopes: CellCapacity,
    adaptive: AdaptivePolicies,
    now_s: float,
) -> list[pb.LimitUsage]:
    """The page, and one more if there is one. Only the counters of its scopes are read."""
    paths = [
        (scopes.reservation_path(ScheduledQueue.of(one.queue_id), one.egress_id), one.number)
        for one in await results.read_in_flight(tx)
    ]
    known = {scope.key for path, _ in paths for scope in path}
    known |= {change.scope.key for change in adaptive.limits.changes()}
    shown = await _scopes_of(tx, page, known, scopes=scopes, now_s=now_s)
    await _load_usage(tx, shown, paths, scopes=scopes)
    set_by = adaptive.limits.set_by
    rows = [
        limit_usage(one, set_by(one.scope, one.limit, one.maximum))
        for one in scopes.ledger.usage(now_s=now_s)
    ]
    ordered = sorted(rows, key=lambda one: (one.scope, one.limit), reverse=True)
    below = [one for one in ordered if page.after[0] == "" or (one.scope, one.limit) < page.after]
    return below[: page.limit + 1]


async def _scopes_of(
    tx: Transaction,
    page: LimitQuery,
    known: Collection[str],
    *,
    scopes: CellCapacity,
    now_s: float,
) -> list[LimitScope]:
    """The scopes with limits that can have a row on the page. known: scopes besides those with
    counters."""
    found: list[LimitScope] = []
    high = f"{page.after[0]}!" if page.after[0] else LAST  # that of the cursor may have others
    while high and len(found) < page.limit + 2:
        counted = await usage.scopes_below(tx, high, CHUNK)
        low = counted[-1] if len(counted) == CHUNK else ""
        for key in sorted({*counted, *(one for one in known if low <= one < high)}, reverse=True):
            scope = LimitScope.of(key) if page.contains in key else None
            if scope and any(scopes.ledger.limits_of(scope, now_s=now_s)[:5]):
                found.append(scope)
        high = low
    return found[: page.limit + 2]


async def _load_usage(
    tx: Transaction,
    shown: Sequence[LimitScope],
    paths: Sequence[tuple[Path, int]],
    *,
    scopes: CellCapacity,
) -> None:
    """The counters of these scopes, and their messages in flight."""
    scopes.ledger.load(await usage.read_usage_of(tx, shown))
    wanted = frozenset(shown)
    for path, number in paths:
        scopes.ledger.load_in_flight([one for one in path if one in wanted], number)
    for scope in shown:
        scopes.ledger.track(scope)


def limit_usage(one: LimitUsage, set_by: str = "") -> pb.LimitUsage:
    capacity = one.capacity
    waits = capacity.available <= 0 and isfinite(capacity.available_at_s)
    return pb.LimitUsage(
        scope=one.scope.key,
        limit=capacity.limited_by,
        maximum=one.maximum,
        used=max(one.maximum - capacity.available, 0),
        reason=one.reason if one.reason != capacity.limited_by else "",
        available_at=timestamp(capacity.available_at_s) if waits else None,
        set_by=set_by,
    )
