"""A limit that is reached is an event once an hour or a day."""

from typing import Any

import pytest

from kernel.topics import event_id
from services.router.domain.deficit_round_robin import BlockedQueue
from services.router.domain.ledger import LimitScope, ScopeKind
from services.router.domain.limits import Capacity, Limits
from services.router.domain.reached_limits import KNOWN_MAX, ReachedLimits

DAY_S, HOUR_S = 86_400, 3_600
NOW_S = 20_000 * DAY_S + 60.0
TENANT = "5e6f7e39-9c6f-4a37-a9b4-b7a7a1b1a3d1"
MAILBOX = LimitScope(ScopeKind.MAILBOX, "b1")
LIMITS = Limits(per_hour=3, per_day=9)


def blocked(scope: LimitScope = MAILBOX, limited_by: str = "per_hour") -> BlockedQueue:
    capacity = Capacity(0, NOW_S + 600, limited_by)
    return BlockedQueue(f"{TENANT}/site/mailbox=b1", scope, capacity)


def record(reached: ReachedLimits, *some: BlockedQueue, at_s: float = NOW_S) -> list[Any]:
    return reached.record(some, lambda _: LIMITS, now_s=at_s)


def test_a_limit_that_is_reached_is_an_event_once_a_period() -> None:
    reached = ReachedLimits()
    [event] = record(reached, blocked(), blocked())
    assert (event.scope, event.limit, event.tenant_id) == ("mailbox/b1", "per_hour", TENANT)
    assert (event.maximum, event.period) == (3, NOW_S // HOUR_S)
    assert (event.reached_at.seconds, event.resets_at.seconds) == (NOW_S, NOW_S + 600)
    assert record(reached, blocked(), at_s=NOW_S + 600) == []
    [day] = record(reached, blocked(limited_by="per_day"), at_s=NOW_S + 600)
    assert (day.maximum, day.period) == (9, 20_000)
    [later] = record(reached, blocked(), blocked(limited_by="per_day"), at_s=NOW_S + HOUR_S)
    assert (later.limit, later.period) == ("per_hour", event.period + 1)


def test_a_scheduler_that_takes_over_repeats_the_event() -> None:
    [first] = record(ReachedLimits(), blocked())
    [again] = record(ReachedLimits(), blocked(), at_s=NOW_S + 1)
    assert event_id(first) == event_id(again)


@pytest.mark.parametrize(
    ("scope", "limited_by"),
    [
        (MAILBOX, "per_second"),
        (MAILBOX, "in_flight"),
        (MAILBOX, "override"),
        (LimitScope(ScopeKind.EGRESS_SITE, "e1/site"), "per_hour"),
        (LimitScope(ScopeKind.POOL, "p1"), "per_day"),
    ],
)
def test_what_is_not_the_tenants_own_or_ends_soon_is_no_event(
    scope: LimitScope, limited_by: str
) -> None:
    assert record(ReachedLimits(), blocked(scope, limited_by)) == []


def test_what_is_known_is_bounded() -> None:
    reached = ReachedLimits()
    many = [blocked(LimitScope(ScopeKind.MAILBOX, str(number))) for number in range(KNOWN_MAX + 1)]
    assert len(record(reached, *many)) == KNOWN_MAX + 1
    assert record(reached, many[-1]) == []
    assert len(record(reached, many[0])) == 1
