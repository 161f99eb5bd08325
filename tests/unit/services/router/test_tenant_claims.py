"""Only mail of claimed tenants is assigned."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from contracts.delivery.v1.events_pb2 import ATTEMPT_OUTCOME_DELIVERED, ATTEMPT_OUTCOME_STALE
from contracts.router.v1.results_pb2 import RESULT_KIND_ATTEMPT, RESULT_KIND_COMPLAINT, Result
from services.router.domain.deficit_round_robin import ActiveQueue
from services.router.domain.policies import DEFAULT_POOL, TenantRouting
from services.router.loops.tenant_claims import TenantClaimer, tenants_of
from services.router.store import tenant_pools
from services.router.store.tenant_pools import TenantClaim
from tests.support.memory_cell import NOW_S, memory_cell

FOUND = {
    "new": TenantClaim("new", None, "default", "west", was_added=True),
    "own": TenantClaim("own", "p", "west", "west", was_added=False),
    "leaving": TenantClaim("leaving", "p", "west", "default", was_added=False),
    "wanted": TenantClaim("wanted", "d", "default", "west", was_added=False),
    "elsewhere": TenantClaim("elsewhere", "d", "default", "default", was_added=False),
    "unknown": TenantClaim("unknown", None, "default", "default", was_added=False),
}


async def test_what_becomes_of_tenants_depends_on_where_they_are_counted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    requested: dict[str, list[str]] = {}
    changed: dict[str, str] = {}

    async def claim(_: object, cell: str, wanted: dict[str, str]) -> list[TenantClaim]:
        assert (cell, wanted["unknown"]) == ("west", "")
        return [FOUND[one] for one in wanted]

    async def append(_: object, entry: Any, cell: str) -> None:  # noqa: ANN401 - results
        requested.setdefault(cell, []).extend(entry.wanted_tenants)

    async def change(_: object, pools: dict[str, str]) -> None:
        changed.update(pools)

    monkeypatch.setattr(tenant_pools, "claim", claim)
    monkeypatch.setattr(tenant_pools, "change", change)
    monkeypatch.setattr("services.router.store.results.append", append)
    known = {one: TenantRouting(pool_id=DEFAULT_POOL) for one in FOUND if one != "unknown"}
    cell = memory_cell("e1", routing=known.get).cell
    claims = TenantClaimer(cast(Any, SimpleNamespace(name="west")))
    for _ in range(2):  # a request is not repeated at once
        await claims.claim(cast(Any, None), cell, FOUND, now_s=NOW_S)
    assert cell.tenants == {"new", "own"}
    assert changed == {"own": DEFAULT_POOL}
    assert claims.excluded == {"leaving", "wanted", "elsewhere"}
    assert claims.leaving == {"leaving": DEFAULT_POOL}
    assert claims.elsewhere == {"elsewhere": "default"}
    assert requested == {"default": ["wanted"]}
    active = [ActiveQueue.of(f"{one}/site", 1) for one in FOUND]
    served = [one.queue.tenant_id for one in claims.served(active)]
    assert served == ["new", "own", "unknown"]
    # The record of an unknown tenant may arrive in the middle of a tick.
    assert claims.granted({"own/site": 1, "unknown/site": 1}) == {"own/site": 1}


def test_counters_are_loaded_for_mail_and_for_results_that_change_them() -> None:
    def result(tenant: str, **fields: Any) -> Result:  # noqa: ANN401 - of results
        return Result(queue_id=f"{tenant}/site", **{"kind": RESULT_KIND_ATTEMPT, **fields})

    results = [
        result("sent", connected=True, outcome=ATTEMPT_OUTCOME_DELIVERED),
        result("stale", outcome=ATTEMPT_OUTCOME_STALE),
        result("complained", connected=True, kind=RESULT_KIND_COMPLAINT),
        Result(queue_id="/site", kind=RESULT_KIND_COMPLAINT),  # of a source alone
    ]
    active = [ActiveQueue.of("mail/site", 1)]
    assert tenants_of(active, results) == {"mail", "stale", "complained"}
