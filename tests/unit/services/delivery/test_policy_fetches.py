"""A stored policy is in force at once, while another one is fetched."""

import asyncio

from kernel.errors import Unavailable
from mail.mta_sts import MtaStsMode, MtaStsPolicy
from mail.tls_rpt import ResultType
from services.delivery.clients.mta_sts import PolicyFetchFailed
from services.delivery.domain.tls_policy import TlsPolicy
from services.delivery.loops import tls_policies
from services.delivery.store.mta_sts import StoredMtaStsPolicy
from tests.support.tls_policies import (
    DOMAIN,
    OLD,
    POLICY,
    Dane,
    Source,
    Store,
    all_done,
    message,
    policies_of,
    until,
)


def source_and_store() -> tuple[Source, Store]:
    """A domain with another policy than the stored one, at a host that does not respond yet."""
    stored = StoredMtaStsPolicy(OLD, "0", 100.0, 86_300.0)
    return Source(released=asyncio.Event()), Store({DOMAIN: stored})


def mx_of(policy: TlsPolicy | None) -> tuple[str, ...]:
    assert policy is not None
    assert policy.mta_sts is not None
    return policy.mta_sts.mx


async def test_a_stored_policy_is_in_force_at_once_while_another_one_is_fetched() -> None:
    source, store = source_and_store()
    policies = policies_of(source, store)
    async with asyncio.timeout(60):
        assert mx_of(await policies.resolve(message())) == OLD.mx
    assert mx_of(policies.known(message())) == OLD.mx
    assert source.released is not None
    source.released.set()
    await all_done()
    assert mx_of(policies.known(message())) == POLICY.mx
    assert source.requests == [f"look up {DOMAIN}", f"fetch {DOMAIN}"]


async def test_a_policy_that_is_fetched_before_dane_is_known_is_in_force() -> None:
    source, store = source_and_store()
    assert source.released is not None
    source.released.set()
    dane = Dane()
    policies = policies_of(source, store, dane)
    waiting = asyncio.create_task(policies.resolve(message()))
    await until(lambda: source.requests)
    for _ in range(20):
        await asyncio.sleep(0)
    dane.released.set()
    await waiting
    await all_done()
    assert mx_of(policies.known(message())) == POLICY.mx


async def test_after_a_refusal_the_next_attempt_waits_for_the_policy_that_is_fetched() -> None:
    source, store = source_and_store()
    policies = policies_of(source, store)
    await policies.resolve(message())
    await until(lambda: f"fetch {DOMAIN}" in source.requests)
    policies.recheck(message())
    assert policies.known(message()) is None
    waiting = asyncio.create_task(policies.resolve(message()))
    await until(lambda: source.requests.count(f"look up {DOMAIN}") == 2)
    for _ in range(20):
        await asyncio.sleep(0)
    assert not waiting.done()
    assert source.released is not None
    source.released.set()
    assert mx_of(await waiting) == POLICY.mx
    assert source.requests.count(f"fetch {DOMAIN}") == 1


async def test_after_a_refusal_a_policy_that_cannot_be_had_leaves_the_stored_one(
    now_s: list[float],
) -> None:
    source, store = source_and_store()
    source.policy = PolicyFetchFailed(ResultType.STS_POLICY_FETCH_ERROR, "404")
    policies = policies_of(source, store)
    await policies.resolve(message())
    now_s[0] += tls_policies.RECHECK_S + 1
    policies.recheck(message())
    assert source.released is not None
    source.released.set()
    assert mx_of(await policies.resolve(message())) == OLD.mx
    assert mx_of(policies.known(message())) == OLD.mx


async def test_the_database_away_during_a_fetch_leaves_the_stored_policy() -> None:
    class ReadOnly(Store):
        async def save(self, domain: str, policy_id: str, policy: MtaStsPolicy) -> None:
            raise Unavailable("the database")

    source, store = source_and_store()
    assert source.released is not None
    source.released.set()
    policies = policies_of(source, ReadOnly(store.stored))
    await policies.resolve(message())
    await all_done()
    assert mx_of(policies.known(message())) == OLD.mx


async def test_without_a_slot_a_stored_policy_is_fetched_again_soon(now_s: list[float]) -> None:
    source, store = source_and_store()
    source.has_slots = False
    policies = policies_of(source, store)
    assert mx_of(await policies.resolve(message())) == OLD.mx
    await all_done()
    assert source.requests == [f"look up {DOMAIN}"]
    now_s[0] += tls_policies.RETRY_S
    assert policies.known(message()) is None


async def test_a_fetch_in_the_background_ends_with_the_policies() -> None:
    source, store = source_and_store()
    policies = policies_of(source, store)
    await policies.resolve(message())
    await until(lambda: f"fetch {DOMAIN}" in source.requests)
    await policies.close()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_policies_in_memory_are_bounded_by_their_octets() -> None:
    hosts = tuple(f"{n:0>240}.example" for n in range(100))
    policies = policies_of(Source(policy=MtaStsPolicy(MtaStsMode.ENFORCE, hosts, 86_400)))
    domains = [f"d{n}.example" for n in range(2 * tls_policies.OCTETS_MAX // 45_000)]
    for domain in domains:
        await policies.resolve(message(recipient=f"friend@{domain}"))
    kept = [one for one in domains if policies.known(message(recipient=f"friend@{one}"))]
    assert kept == domains[-len(kept) :]
    assert len(kept) * 25_000 < tls_policies.OCTETS_MAX < len(kept) * 60_000
