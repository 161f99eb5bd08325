"""Allocation is fair between tenants and fits every limit scope."""

from math import inf

from hypothesis import given
from hypothesis import strategies as st

from services.router.domain.deficit_round_robin import ActiveQueue, AllocatedQuotas, allocate
from services.router.domain.ledger import LimitScope, Path, ScopeKind
from services.router.domain.limits import Capacity
from services.router.domain.message import Priority, ScheduledQueue

WIDE = Capacity(10_000)


def queues(*keys: str) -> list[ActiveQueue]:
    return [ActiveQueue.of(key, 1) for key in keys]


def tenant(name: str) -> LimitScope:
    return LimitScope(ScopeKind.TENANT, name)


def pool_site(site: str) -> LimitScope:
    return LimitScope(ScopeKind.POOL_SITE, f"p/{site}")


def path_of(queue: ScheduledQueue) -> Path:
    return tenant(queue.tenant_id), pool_site(queue.site)


def allocated(
    active: list[ActiveQueue],
    capacities: dict[LimitScope, Capacity] | None = None,
    *,
    batch_max: int = 100,
    bulk_max: float = inf,
    weights: dict[str, int] | None = None,
) -> AllocatedQuotas:
    capacities = capacities or {}
    return allocate(
        active,
        path_of=path_of,
        capacity_of=lambda scope: capacities.get(scope, WIDE),
        batch_max=batch_max,
        bulk_max=bulk_max,
        weight_of=lambda tenant_id: (weights or {}).get(tenant_id, 1),
    )


def test_tenants_share_what_is_scarce_by_their_weights() -> None:
    weights, both = {"a": 3}, queues("a/s", "b/s")
    many = queues(*(f"a/site{n}" for n in range(100)), "b/s")
    for active, capacities in (
        (both, {}),
        (both, {pool_site("s"): Capacity(400)}),
        (many, {}),
    ):
        quotas = allocated(active, capacities, batch_max=400, weights=weights).quotas
        assert sum(quotas.values()) == 400
        assert 90 <= quotas["b/s"] <= 110


def test_bulk_mail_of_all_tenants_shares_what_a_tick_may_assign_of_it() -> None:
    active = queues("a/s/bulk", "b/s/bulk", "a/s", "b/s/urgent")
    quotas = allocated(active, bulk_max=10, batch_max=1000).quotas
    assert quotas["a/s/bulk"] + quotas["b/s/bulk"] == 10
    assert min(quotas["a/s/bulk"], quotas["b/s/bulk"]) > 0
    assert quotas["a/s"] + quotas["b/s/urgent"] == 990
    none = allocated(active, bulk_max=0)
    assert none.quotas.keys() == {"a/s", "b/s/urgent"}
    assert not none.blocked, "they have their turn in a later tick"


def test_a_tenant_with_a_thousand_queues_gets_no_more_than_one_with_a_single_queue() -> None:
    many = [f"big/site{n}" for n in range(1000)]
    quotas = allocated(queues(*many, "small/site0"), batch_max=100).quotas
    assert quotas["small/site0"] == 50
    assert sum(quotas.values()) == 100


def test_bulk_gets_a_tenth_of_express_and_everything_without_express() -> None:
    quotas = allocated(queues("a/s/bulk", "a/s"), batch_max=110).quotas
    assert quotas == {"a/s/bulk": 10, "a/s": 100}
    assert allocated(queues("a/s/bulk"), batch_max=110).quotas == {"a/s/bulk": 110}


def test_urgent_mail_leaves_before_the_rest_of_its_tenant_and_not_before_other_tenants() -> None:
    quotas = allocated(queues("a/s/urgent", "a/s", "b/s"), batch_max=120).quotas
    assert set(quotas) == {"a/s/urgent", "b/s"}
    assert abs(quotas["b/s"] - 60) < 10
    assert allocated(queues("a/s/urgent", "a/s"), batch_max=110).quotas == {
        "a/s/urgent": 100,
        "a/s": 10,
    }


def test_tenants_share_the_last_places_of_a_site() -> None:
    many = [f"t{n}/s" for n in range(4)]
    quotas = allocated(queues(*many), {pool_site("s"): Capacity(4)}).quotas
    assert quotas == dict.fromkeys(many, 1)


def test_a_queue_is_blocked_by_an_exhausted_scope() -> None:
    exhausted = Capacity(0, 60.0, "per_hour")
    allocation = allocated(queues("a/s", "b/s"), {tenant("a"): exhausted})
    assert [(queue.queue_id, queue.scope, queue.capacity) for queue in allocation.blocked] == [
        ("a/s", tenant("a"), exhausted)
    ]
    assert set(allocation.quotas) == {"b/s"}


def test_a_queue_is_blocked_by_the_exhausted_scope_that_is_available_last() -> None:
    allocation = allocated(
        queues("a/s"),
        {tenant("a"): Capacity(0, 60.0, "per_hour"), pool_site("s"): Capacity(0, 5.0, "x")},
    )
    assert allocation.blocked[0].scope == tenant("a")


def test_a_queue_without_a_quantum_is_not_blocked() -> None:
    allocation = allocated(queues("a/s", "a/t"), {tenant("a"): Capacity(1)}, batch_max=100)
    assert not allocation.blocked
    assert sum(allocation.quotas.values()) == 1


keys = st.lists(
    st.builds(
        lambda tenant, site, priority: ScheduledQueue(tenant, site, priority).queue_id,
        st.sampled_from("abcde"),
        st.sampled_from(["s", "t", "u"]),
        st.sampled_from(Priority),
    ),
    unique=True,
    max_size=25,
)
capacities = st.dictionaries(
    st.sampled_from([*map(tenant, "abcde"), *map(pool_site, "stu")]),
    st.integers(0, 60).map(lambda available: Capacity(available, 10.0, "x")),
)


@given(keys=keys, capacities=capacities, batch_max=st.integers(1, 200))
def test_quotas_fit_every_scope_and_the_batch_together(
    keys: list[str], capacities: dict[LimitScope, Capacity], batch_max: int
) -> None:
    allocation = allocated(queues(*keys), capacities, batch_max=batch_max)
    assert sum(allocation.quotas.values()) <= batch_max
    used: dict[LimitScope, int] = {}
    for key, quota in allocation.quotas.items():
        for scope in path_of(ScheduledQueue.of(key)):
            used[scope] = used.get(scope, 0) + quota
    assert all(number <= capacities.get(scope, WIDE).available for scope, number in used.items())
    blocked = {queue.queue_id for queue in allocation.blocked}
    assert not blocked & set(allocation.quotas)
    assert all(capacities[queue.scope].available == 0 for queue in allocation.blocked)


@given(keys=keys, batch_max=st.integers(500, 900))
def test_every_tenant_with_capacity_gets_a_quota_in_a_full_round(
    keys: list[str], batch_max: int
) -> None:
    """Five tenants with quanta of at most 100: a batch of 500 has room for one quantum of each."""
    quotas = allocated(queues(*keys), batch_max=batch_max).quotas
    assert {ScheduledQueue.of(key).tenant_id for key in quotas} == {
        ScheduledQueue.of(key).tenant_id for key in keys
    }
