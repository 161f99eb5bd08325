"""Mail that a pool may not send yet leaves through warm sources of its overflow pool."""

from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from contracts.router.v1.policies_pb2 import PolicyCommand, WarmupCommand
from services.router.domain.egress import EgressSource
from services.router.domain.ledger import LimitScope, ScopeKind, Suspension
from services.router.domain.limits import NO_LIMITS, Limits
from services.router.domain.policies import TenantRouting
from services.router.domain.policy_engine import AdaptivePolicyRules
from services.router.domain.ramps import Ramp
from services.router.domain.shaping import SiteLimits
from tests.support.memory_cell import NOW_S, MemoryCell, due_message, memory_cell, sources

OWN, OVERFLOW, THIRD = "own", "overflow", "third"
ALLOWANCE = 20  # a day, and as much an hour
RULES = AdaptivePolicyRules(ramps={"test": Ramp("test", "hour", (ALLOWANCE,), "the test")})
OTHER_TENANT = "019ab000-0000-7000-8000-00000000000b"


class PoolLimit:
    """A limit of the overflow pool."""

    kinds = (ScopeKind.POOL,)
    reason = ""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits

    def limits_of(self, scope: LimitScope, _: float) -> Limits:
        return self._limits if scope.id == OVERFLOW else NO_LIMITS

    def suspension_of(self, _: LimitScope, __: float) -> Suspension | None:
        return None


def overflowing_cell(
    *listed: EgressSource,
    site_limits: SiteLimits | None = None,
    pool_limit: Limits = NO_LIMITS,
    overflow_pools: dict[str, str] | None = None,
) -> MemoryCell:
    """The tenant's pool is own, which overflows; another tenant uses the overflow pool."""
    cell = memory_cell(
        site_limits=site_limits or SiteLimits(1000),
        rules=RULES,
        policies=[PoolLimit(pool_limit)],
        routing=lambda tenant: TenantRouting(pool_id=OVERFLOW if tenant == OTHER_TENANT else OWN),
    )
    cell.sources = list(listed)
    cell.overflow_pools = {OWN: OVERFLOW} if overflow_pools is None else overflow_pools
    cell.take_over(NOW_S)
    return cell


def warm_up(cell: MemoryCell, *egress_ids: str, action: str = "start") -> None:
    commands = [
        PolicyCommand(warmup=WarmupCommand(egress_id=one, action=action, ramp="test"))
        for one in egress_ids
    ]
    cell.cell.apply_results([], commands=commands, now_s=NOW_S)
    cell.policies.save(cell.cell.adaptive, NOW_S)


def sent_by(cell: MemoryCell, number: int, *, ticks: int = 4, now_s: float = NOW_S) -> Counter[str]:
    """How many of new messages each source sends at once."""
    for one in range(number):
        cell.add(due_message(len(cell.assigned) + one, due_s=now_s))
    sent: Counter[str] = Counter()
    for _ in range(ticks):
        sent.update(one.egress_id for one in cell.tick(now_s))
        now_s += 0.01
    return sent


def own(*egress_ids: str) -> list[EgressSource]:
    return sources(*egress_ids, pool_id=OWN)


def overflow(*egress_ids: str) -> list[EgressSource]:
    return sources(*egress_ids, pool_id=OVERFLOW)


def test_what_exceeds_the_allowance_leaves_through_the_overflow_pool_at_once() -> None:
    cell = overflowing_cell(*own("new"), *overflow("warm1", "warm2"))
    warm_up(cell, "new")

    assert sent_by(cell, 60) == {"new": ALLOWANCE, "warm1": 20, "warm2": 20}


def test_it_never_overflows_to_a_source_that_warms_up() -> None:
    cell = overflowing_cell(*own("new"), *overflow("warm", "young"))
    warm_up(cell, "new", "young")

    assert sent_by(cell, 60) == {"new": ALLOWANCE, "warm": 40}


def test_the_overflow_begins_when_the_warmup_of_its_source_is_finished() -> None:
    cell = overflowing_cell(*own("new"), *overflow("young"))
    warm_up(cell, "new", "young")
    assert sent_by(cell, 60)["young"] == 0

    warm_up(cell, "young", action="finish")

    assert sent_by(cell, 0)["young"] > 0


def test_a_rate_does_not_overflow() -> None:
    """It has capacity again within a second or with the next result."""
    cell = overflowing_cell(*own("old"), *overflow("warm"), site_limits=SiteLimits(5))

    assert sent_by(cell, 60) == {"old": 5}


def test_a_pool_without_usable_sources_overflows() -> None:
    cell = overflowing_cell(*overflow("warm"))

    assert sent_by(cell, 10) == {"warm": 10}


def test_mail_overflows_one_pool_far() -> None:
    pools = {OWN: OVERFLOW, OVERFLOW: THIRD}
    cell = overflowing_cell(
        *own("new"), *overflow("young"), *sources("warm", pool_id=THIRD), overflow_pools=pools
    )
    warm_up(cell, "new", "young")

    assert sum(sent_by(cell, 60).values()) < 60
    assert "warm" not in sent_by(cell, 0)


def test_the_limits_of_the_overflow_pool_hold() -> None:
    limit = Limits(per_hour=7)
    cell = overflowing_cell(*own("new"), *overflow("warm1", "warm2"), pool_limit=limit)
    warm_up(cell, "new")

    sent = sent_by(cell, 60)

    assert sent["warm1"] + sent["warm2"] == 7
    [blocked] = [row.blocked for row in cell.queues.values() if row.blocked]
    assert (blocked.scope.kind, blocked.capacity.limited_by) == ("pool_site", "warmup")


def test_a_retry_stays_with_its_overflow_source_until_that_warms_up() -> None:
    cell = overflowing_cell(*own("new"), *overflow("warm"))
    cell.add(due_message(1, egress_id="warm"))
    assert [one.egress_id for one in cell.tick(NOW_S)] == ["warm"]

    warm_up(cell, "warm")
    cell.add(due_message(2, egress_id="warm"))

    sent = [one.egress_id for _ in range(2) for one in cell.tick(NOW_S)]
    assert sent == ["new"]
    assert cell.requeued == 1


def test_a_pool_with_an_overflow_uses_its_allowance_as_early_as_one_with_a_warm_source() -> None:
    """Without, the allowance is spread over the day."""
    daily = AdaptivePolicyRules(ramps={"test": Ramp("test", "day", (240,), "the test")})
    cell = memory_cell(rules=daily)
    adaptive = cell.cell.adaptive
    warm_up(cell, "new")
    scope = LimitScope(ScopeKind.WARMUP, "new")

    adaptive.replace_sources([*own("new"), *overflow("warm")])
    spread = adaptive.warmups.limits_of(scope, NOW_S).per_hour
    adaptive.replace_sources([*own("new"), *overflow("warm")], {OWN: OVERFLOW})

    assert (spread, adaptive.warmups.limits_of(scope, NOW_S).per_hour) == (10, 40)


steps = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(1, 30)),
        st.tuples(st.just("start"), st.sampled_from(["new", "young", "warm"])),
        st.tuples(st.just("finish"), st.sampled_from(["new", "young", "warm"])),
        st.tuples(st.just("take over"), st.none()),
        st.tuples(st.just("overflow"), st.sampled_from(["", OVERFLOW])),
        st.tuples(st.just("pause"), st.sampled_from(["new", "warm", ""])),
    ),
    max_size=30,
)


class Walk:
    """A cell whose pools and warmups change. overflowed: messages sent through another pool."""

    def __init__(self) -> None:
        far = sources("far", pool_id=THIRD)
        self.listed = [*own("new"), *overflow("young", "warm"), *far]
        self.cell = overflowing_cell(*self.listed, pool_limit=Limits(per_hour=50))
        self.now_s, self.number, self.overflowed = NOW_S, 0, 0

    def add(self, count: int) -> None:
        for _ in range(count):
            self.number += 1
            self.cell.add(due_message(self.number, due_s=self.now_s))

    def replace(self) -> None:
        cell = self.cell
        cell.cell.replace_sources(cell.sources, cell.overflow_pools, now_s=self.now_s)

    def set_overflow(self, pool_id: str) -> None:
        self.cell.overflow_pools = {OWN: pool_id} if pool_id else {}
        self.replace()

    def pause(self, paused: str) -> None:
        self.cell.sources = [one for one in self.listed if one.egress_id != paused]
        self.replace()

    def take(self, step: str, given_: object) -> None:
        match step, given_:
            case "add", int(count):
                self.add(count)
            case (("start" | "finish"), str(egress_id)):
                warm_up(self.cell, egress_id, action=step)
            case "overflow", str(pool_id):
                self.set_overflow(pool_id)
            case "pause", str(paused):
                self.pause(paused)
            case _:
                self.cell.take_over(self.now_s)

    def tick(self) -> None:
        self.now_s += 0.2
        for one in self.cell.tick(self.now_s):
            if one.egress_id != "new":
                assert one.egress_id != "far"
                assert self.cell.overflow_pools
                assert not self.cell.cell.adaptive.warmups.is_warming(one.egress_id, "site")
                self.overflowed += 1


@settings(max_examples=80, deadline=None)
@given(steps)
def test_overflow_uses_warm_sources_of_the_overflow_pool_only(
    walked: list[tuple[str, object]],
) -> None:
    walk = Walk()
    for step, given_ in walked:
        walk.take(step, given_)
        for _ in range(3):
            walk.tick()
    assert walk.overflowed <= 50
