"""Whose an egress pool is: of those who alone send through it."""

import pytest

from contracts.ingest.v1.directory_pb2 import Tenant
from contracts.router.v1 import policies_pb2 as pb
from services.router.domain.egress import EgressSource
from services.router.domain.events import timestamp
from services.router.domain.policies import DEFAULT_POOL
from services.router.domain.policy_engine import AdaptivePolicies, AdaptivePolicyRules
from services.router.domain.pool_owners import PoolOwner, PoolOwners
from services.router.domain.ramps import Ramp
from tests.support.memory_cell import NOW_S

RAMP = Ramp("test", "day", (20, 50, 100), "the test")


def owners(*tenants: Tenant) -> PoolOwners:
    found = PoolOwners()
    for one in tenants:
        found.put(one)
    return found


def tenant(name: str, account: str, pool: str = "p", *, deleted: bool = False) -> Tenant:
    return Tenant(tenant_id=name, account_id=account, pool_id=pool, deleted=deleted)


@pytest.mark.parametrize(
    ("tenants", "owner"),
    [
        ([], PoolOwner()),
        ([tenant("t", "a")], PoolOwner("a", "t")),
        ([tenant("t", "a"), tenant("u", "a")], PoolOwner("a")),
        ([tenant("t", "a"), tenant("u", "b")], PoolOwner()),
        ([tenant("t", "a"), tenant("u", "b", "q")], PoolOwner("a", "t")),
        ([tenant("t", "a"), tenant("u", "b"), tenant("u", "b", "q")], PoolOwner("a", "t")),
        ([tenant("t", "a"), tenant("u", "b"), tenant("u", "b", deleted=True)], PoolOwner("a", "t")),
        ([tenant("t", "a"), tenant("t", "a", "")], PoolOwner()),
    ],
)
def test_a_pool_is_of_those_who_alone_send_through_it(
    tenants: list[Tenant], owner: PoolOwner
) -> None:
    assert owners(*tenants).owner_of("p") == owner


def test_nobody_owns_the_default_pool() -> None:
    alone = owners(tenant("t", "a", DEFAULT_POOL), tenant("u", "a", ""))
    assert alone.owner_of(DEFAULT_POOL) == PoolOwner()


def test_the_events_of_a_source_name_its_owner_and_addresses() -> None:
    whose = owners(tenant("shop", "acme")).owner_of
    policies = AdaptivePolicies(AdaptivePolicyRules({"test": RAMP}, owner_of=whose))
    policies.replace_sources([EgressSource("e1", "p", "192.0.2.7", "", "2001:db8::7")])
    check = pb.ListingCheck(
        egress_id="e1", checked_at=timestamp(NOW_S),
        listings=[pb.FoundListing(blocklist="zen", listed=True)],
    )  # fmt: skip
    start = pb.WarmupCommand(egress_id="e1", action="start", ramp="test")
    commands = [pb.PolicyCommand(warmup=start), pb.PolicyCommand(listing_check=check)]
    policies.observe([], commands, now_s=NOW_S)
    events = [
        one
        for one in policies.drain(NOW_S).events
        if isinstance(one, pb.WarmupChanged | pb.ListingChanged)
    ]
    assert {type(one) for one in events} == {pb.WarmupChanged, pb.ListingChanged}
    for one in events:
        assert (one.account_id, one.tenant_id, one.pool_id) == ("acme", "shop", "p")
        assert list(one.addresses) == ["192.0.2.7", "2001:db8::7"]
