"""Limits that operators set: what is refused, what survives, and when they hold."""

import pytest

from contracts.router.v1 import policies_pb2 as pb
from services.router.domain.ledger import LimitScope, ScopeKind
from services.router.domain.limits import NO_LIMITS, Limits
from services.router.domain.message import Priority, ScheduledQueue
from services.router.domain.operator_limits import WEIGHT_MAX, LimitsChanged, OperatorLimits
from services.router.domain.policy_engine import AdaptivePolicies
from services.router.domain.policy_events import limits_event, limits_of
from services.router.domain.shaping import SiteLimits
from tests.support.memory_cell import NOW_S, TENANT, due_message, memory_cell

SCOPE = LimitScope(ScopeKind.TENANT, TENANT)
BERLIN = Limits(per_hour=5, per_day=9, hour_zone="Europe/Berlin", day_zone="Europe/Berlin")


def change(
    limits: Limits = NO_LIMITS, *, scope: LimitScope = SCOPE, weight: int = 0, at_s: float = NOW_S
) -> LimitsChanged:
    return LimitsChanged(scope, limits, at_s, "ann", weight)


def command(changed: LimitsChanged) -> pb.PolicyCommand:
    return pb.PolicyCommand(set_limits=limits_event(changed))


@pytest.mark.parametrize(
    "changed",
    [
        change(BERLIN, weight=3),
        change(Limits(1, 2, 3, 4, 5), scope=LimitScope(ScopeKind.EGRESS_SITE, "e1/yahoo")),
        change(),
    ],
)
def test_a_change_is_the_same_after_it_was_stored(changed: LimitsChanged) -> None:
    assert limits_of(limits_event(changed)) == changed


@pytest.mark.parametrize(
    ("changed", "wrong"),
    [
        (change(Limits(per_day=2_000_000_000)), "must not exceed"),
        (change(Limits(per_second=100_001)), "must not exceed"),
        (change(weight=WEIGHT_MAX + 1), "weight"),
        (change(weight=2, scope=LimitScope(ScopeKind.SITE, "yahoo")), "only a tenant"),
        (change(Limits(5), scope=LimitScope(ScopeKind.BROADCASTS, TENANT)), "no limits of its own"),
        (change(Limits(5), scope=LimitScope(ScopeKind.TENANT, "a b")), "there is no tenant"),
        (change(Limits(5), scope=LimitScope(ScopeKind.ENGINE, "x")), "there is no engine"),
        (change(Limits(per_day=5, day_zone="Mars/Olympus")), "time zone"),
        (change(Limits(per_day=5, day_zone="../../etc/passwd")), "time zone"),
    ],
)
def test_what_limits_nothing_or_cannot_be_kept_is_refused(
    changed: LimitsChanged, wrong: str
) -> None:
    adaptive = AdaptivePolicies()
    with pytest.raises(ValueError, match=wrong):
        adaptive.execute(command(changed), NOW_S)
    assert not adaptive.drain(NOW_S)


def test_the_engine_as_a_whole_can_be_limited() -> None:
    change(Limits(per_second=500), scope=LimitScope(ScopeKind.ENGINE, "")).check()


def test_a_time_zone_that_is_no_longer_known_becomes_utc() -> None:
    limits = OperatorLimits()
    limits.apply(change(Limits(per_day=5, hour_zone="Mars/Olympus", day_zone="Mars/Olympus")))
    assert limits.limits_of(SCOPE, NOW_S) == Limits(per_day=5, hour_zone="UTC", day_zone="UTC")


def test_limits_hold_from_the_next_tick_survive_a_takeover_and_end() -> None:
    cell = memory_cell(site_limits=SiteLimits(100))
    for number in range(20):
        cell.add(due_message(number))
    cell.cell.apply_results(
        [], commands=[command(change(Limits(per_hour=5), weight=2))], now_s=NOW_S
    )
    assert len(cell.tick(NOW_S)) == 5
    assert cell.cell.adaptive.limits.weight_of(TENANT) == 2
    [blocked] = [row.blocked for row in cell.queues.values() if row.blocked]
    assert (blocked.scope, blocked.capacity.limited_by) == (SCOPE, "per_hour")
    cell.take_over(NOW_S + 1)
    assert not cell.tick(NOW_S + 1)
    assert cell.cell.adaptive.limits.set_by(SCOPE, "per_hour", 5) == "ann"
    cell.cell.apply_results([], commands=[command(change(at_s=NOW_S + 2))], now_s=NOW_S + 2)
    sent = len(cell.tick(NOW_S + 2))
    assert sent + len(cell.tick(NOW_S + 2.1)) == 15
    cell.take_over(NOW_S + 3)
    assert cell.cell.adaptive.limits.changes() == []


KEY_SCOPE = LimitScope(ScopeKind.API_KEY, "k1")


def test_a_limited_key_delays_no_other_mail_of_its_tenant() -> None:
    cell = memory_cell(site_limits=SiteLimits(100))
    cell.cell.apply_results(
        [], commands=[command(change(Limits(per_hour=3), scope=KEY_SCOPE))], now_s=NOW_S
    )
    for number in range(10):
        cell.add(due_message(number, key="k1", due_s=NOW_S - 60))
        cell.add(due_message(100 + number, key="k2"))
    sent = [one.row.message_id for tick in range(4) for one in cell.tick(NOW_S + tick / 10)]
    assert sum(len(one) == 2 for one in sent) == 3  # m0 to m9
    assert sum(len(one) > 2 for one in sent) == 10
    [blocked] = [row.blocked for row in cell.queues.values() if row.blocked]
    assert (blocked.scope, blocked.capacity.limited_by) == (KEY_SCOPE, "per_hour")
    cell.take_over(NOW_S + 1)
    assert not cell.tick(NOW_S + 1)


def test_mail_of_a_key_returns_to_the_common_queue_once_it_has_no_limits() -> None:
    cell = memory_cell(site_limits=SiteLimits(100))
    limit = command(change(Limits(per_hour=3), scope=KEY_SCOPE))
    cell.cell.apply_results([], commands=[limit], now_s=NOW_S)
    for number in range(10):
        cell.add(due_message(number, key="k1"))
    sent = [one for tick in range(3) for one in cell.tick(NOW_S + tick / 10)]
    assert len(sent) == 3
    removal = command(change(scope=KEY_SCOPE, at_s=NOW_S + 1))
    cell.cell.apply_results([], commands=[removal], now_s=NOW_S + 1)
    sent += [one for tick in range(4) for one in cell.tick(NOW_S + 1 + tick / 10)]
    assert len(sent) == 10
    assert {ScheduledQueue.of(one.row.queue_id).key_id for one in sent[3:]} == {""}


def test_a_retry_of_a_limited_key_counts_for_the_key() -> None:
    queue = ScheduledQueue(TENANT, "site", Priority.BULK, egress_id="e1", key_id="k1")
    assert ScheduledQueue.of(queue.queue_id) == queue
    cell = memory_cell("e1")
    assert KEY_SCOPE in cell.cell.scopes.path_of(queue)
    assert KEY_SCOPE in cell.cell.scopes.reservation_path(queue, "e1")
