"""TLS policies of domains: resolved once, cached, and kept while they cannot be had."""

import asyncio
from typing import cast

import pytest

from kernel.database import Database
from kernel.errors import Unavailable
from mail.mta_sts import MtaStsMode, MtaStsPolicy
from mail.tls_rpt import ResultType
from services.delivery.clients.mta_sts import (
    PolicyFetchFailed,
    RecordLookupFailed,
)
from services.delivery.domain.attempt_result import ENFORCED, MTA_STS
from services.delivery.domain.tls_policy import ENFORCED_ONLY, NO_POLICY
from services.delivery.loops import tls_policies
from services.delivery.store.mta_sts import MtaStsPolicyStore, StoredMtaStsPolicy
from tests.support.tls_policies import (
    DOMAIN,
    POLICY,
    TTL_S,
    Source,
    Store,
    all_done,
    message,
    policies_of,
)


async def test_simultaneous_messages_to_a_domain_share_one_lookup() -> None:
    source = Source()
    policies = policies_of(source)
    assert policies.known(message()) is None
    found = await asyncio.gather(*(policies.resolve(message()) for _ in range(9)))
    assert [one.requirement("mx.receiver.example").policy for one in found] == [MTA_STS] * 9
    assert policies.known(message()) == found[0]
    assert source.requests == [f"look up {DOMAIN}", f"fetch {DOMAIN}"]


async def test_a_domain_without_a_policy_is_looked_up_again_after_its_ttl(
    now_s: list[float],
) -> None:
    source = Source(record=None)
    policies = policies_of(source)
    assert await policies.resolve(message()) is NO_POLICY
    assert policies.known(message()) is NO_POLICY
    assert policies.known(message(tls_enforced=True)) is ENFORCED_ONLY
    now_s[0] += TTL_S
    assert policies.known(message()) is None
    assert source.requests == [f"look up {DOMAIN}"]


async def test_domains_without_a_policy_push_no_policy_out_of_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(tls_policies, "DOMAINS_MAX", 2)
    source = Source()
    policies = policies_of(source)
    found = await policies.resolve(message())
    source.record = None
    for number in range(9):
        other = message()
        other.context.recipient = f"ann@none{number}.example"
        assert await policies.resolve(other) is NO_POLICY
        assert policies.known(other) is NO_POLICY
    assert policies.known(message()) == found


@pytest.mark.parametrize(
    ("record", "policy"),
    [
        (None, POLICY),
        (RecordLookupFailed(), POLICY),
        ("2", PolicyFetchFailed(ResultType.STS_POLICY_FETCH_ERROR, "404")),
    ],
)
async def test_a_stored_policy_stays_in_force_whatever_fails(
    record: str | Exception | None, policy: MtaStsPolicy | Exception
) -> None:
    store = Store({DOMAIN: StoredMtaStsPolicy(POLICY, "1", 0.0, 86_400.0)})
    policies = policies_of(Source(record, policy), store)
    found = await policies.resolve(message())
    assert found.requirement("mx.receiver.example").policy == MTA_STS
    assert found.refusal("mx.elsewhere.example") is not None


async def test_a_stored_policy_is_not_relied_on_after_it_has_expired(now_s: list[float]) -> None:
    store = Store({DOMAIN: StoredMtaStsPolicy(POLICY, "1", 100.0, left_s=5.0)})
    policies = policies_of(Source(), store)
    await policies.resolve(message())
    now_s[0] += 5.0
    assert policies.known(message()) is None


@pytest.mark.parametrize(
    ("stored", "fetches"),
    [
        (StoredMtaStsPolicy(POLICY, "1", 100.0, 86_000.0), 0),
        (StoredMtaStsPolicy(POLICY, "2", 100.0, 86_000.0), 1),
        (StoredMtaStsPolicy(POLICY, "1", 90_000.0, 86_000.0), 1),
    ],
    ids=["the same id", "another id", "old"],
)
async def test_a_policy_is_fetched_if_its_id_is_new_or_it_is_old(
    stored: StoredMtaStsPolicy, fetches: int
) -> None:
    source, store = Source(), Store({DOMAIN: stored})
    await policies_of(source, store).resolve(message())
    await all_done()
    assert source.requests.count(f"fetch {DOMAIN}") == fetches
    assert store.stored[DOMAIN].policy_id == ("1" if fetches else stored.policy_id)


async def test_a_policy_that_could_not_be_had_is_tried_again_soon(now_s: list[float]) -> None:
    source = Source(record=RecordLookupFailed())
    policies = policies_of(source)
    assert await policies.resolve(message()) is NO_POLICY
    now_s[0] += tls_policies.RETRY_S
    source.record, source.policy = "1", PolicyFetchFailed(ResultType.STS_POLICY_FETCH_ERROR, "404")
    assert policies.known(message()) is None
    assert await policies.resolve(message()) is NO_POLICY
    now_s[0] += tls_policies.REFETCH_S
    assert policies.known(message()) is None


async def test_without_the_database_a_policy_is_not_guessed() -> None:
    class Away(Store):
        async def load(self, domains: list[str]) -> list[StoredMtaStsPolicy | None]:
            raise Unavailable("the database")

    policies = policies_of(Source(record=None), Away())
    for _ in range(2):
        with pytest.raises(Unavailable):
            await policies.resolve(message())
    assert policies.known(message()) is None


async def test_after_a_refusal_the_policy_is_resolved_again_but_at_most_each_minute(
    now_s: list[float],
) -> None:
    policies = policies_of(Source())
    await policies.resolve(message())
    policies.recheck(message())
    assert policies.known(message()) is not None
    now_s[0] += tls_policies.RECHECK_S + 1
    policies.recheck(message())
    assert policies.known(message()) is None


async def test_what_the_sender_requires_is_added_to_the_policy_of_the_domain() -> None:
    source = Source(policy=MtaStsPolicy(MtaStsMode.TESTING, ("mx.receiver.example",), 86_400))
    policies = policies_of(source)
    assert not (await policies.resolve(message())).requirement("mx.receiver.example").policy
    found = policies.known(message(tls_enforced=True))
    assert found is not None
    assert found.requirement("mx.receiver.example").policy == ENFORCED


def test_test_mail_and_static_routes_need_no_lookup() -> None:
    policies = policies_of(Source())
    assert policies.known(message(test=True, tls_enforced=True)) is NO_POLICY
    static = message()
    static.static_route = True
    assert policies.known(static) is NO_POLICY
    static.context.tls_enforced = True
    assert policies.known(static) is ENFORCED_ONLY
    assert policies_of(None).known(message()) is NO_POLICY
    report = message(sender="tls-reports@sender.example", tls_enforced=True)
    assert policies.known(report) is NO_POLICY


async def test_a_policy_without_an_age_is_not_fetched_for_each_message(
    now_s: list[float],
) -> None:
    source = Source(policy=MtaStsPolicy(MtaStsMode.ENFORCE, ("mx.receiver.example",), 0))
    policies = policies_of(source)
    found = await policies.resolve(message())
    now_s[0] += 59
    assert policies.known(message()) == found
    now_s[0] += 1
    assert policies.known(message()) is None


class Rows:
    """A database with one row that is valid, and one that is not."""

    async def execute_autocommit(self, *_: object) -> list[tuple[object, ...]]:
        text = "\n".join(POLICY.lines())
        return [(DOMAIN, "1", text, 1.0, 9.0), ("b.example", "1", "mode: enforce", 1.0, 9.0)]


async def test_a_stored_policy_that_is_not_valid_counts_as_absent() -> None:
    store = MtaStsPolicyStore(cast(Database, Rows()))
    found = await store.load(["b.example", DOMAIN])
    assert found == [None, StoredMtaStsPolicy(POLICY, "1", 1.0, 9.0)]
