"""Figures by pool, and those of all accounts."""

from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import uuid4

import pytest

from contracts.events.v1.events_service_pb2 import MetricsFilter
from contracts.router.v1.directory_pb2 import EgressSource
from kernel.rpc import RpcError
from tests.support.events import Running, ScenarioRunner, run_scenario
from tests.support.figure_counts import Counted, count
from tests.support.figure_queries import counted, metrics, period_of, publish, wait_counted
from tests.support.figures import Life, lives

__all__ = ["run_scenario"]

FIRST, SECOND = str(uuid4()), str(uuid4())
POOLS = {"ip-1": FIRST, "ip-2": SECOND, "ip-3": SECOND, "": ""}


async def lives_of_two_accounts(events: Running, now: datetime) -> list[Life]:
    sources = [
        EgressSource(egress_id=ip, version=1, pool_id=pool) for ip, pool in POOLS.items() if ip
    ]
    await events.publish(*sources)
    some = [
        life for n in range(2) for life in lives(Random(n), 60, tenants=[str(uuid4())], now=now)
    ]
    await publish(events, some, Random(1))
    await wait_counted(events, some)
    return some


def test_figures_by_pool_are_those_of_its_ips(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        now = datetime.now(UTC)
        some = await lives_of_two_accounts(events, now)
        tenants = sorted({life.tenant_id for life in some})  # others are of other tests
        mine = MetricsFilter(name="tenant_id", values=tenants)
        whole: dict[str, Any] = {"all_accounts": True, **period_of(now)}
        for by in ("event", "sent"):
            wanted: Counted = {}
            for (ip, site), counts in count(some, ["ip", "site"], by=by).items():
                sums = wanted.setdefault((POOLS[ip], site), {})
                for name, number in counts.items():
                    sums[name] = sums.get(name, 0) + number
            response = await metrics(
                events, dimensions=["pool", "site"], by=by, filters=[mine], **whole
            )
            assert counted(response) == wanted
        only = [mine, MetricsFilter(name="pool_id", values=[FIRST])]
        found = counted(await metrics(events, dimensions=["ip"], filters=only, **whole))
        assert found == {
            keys: one for keys, one in count(some, ["ip"]).items() if keys[0] == "ip-1"
        }

    run_scenario.shared(scenario)


def test_an_operator_sees_all_accounts(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        now = datetime.now(UTC)
        some = await lives_of_two_accounts(events, now)
        tenants = sorted({life.tenant_id for life in some})  # others are of other tests
        of_both = [MetricsFilter(name="tenant_id", values=tenants)]
        whole: dict[str, Any] = {"all_accounts": True, "filters": of_both, **period_of(now)}
        for dimension in ("tenant", "site", "key"):
            found = await metrics(events, dimensions=[dimension], **whole)
            assert counted(found) == count(some, [dimension])
        nobody = await metrics(events, account_id=str(uuid4()), **period_of(now))
        assert not any(nobody.totals)
        hourly: dict[str, Any] = {"dimensions": ["period"], "granularity": "hourly"}
        start = (now - timedelta(days=3)).isoformat()
        with pytest.raises(RpcError) as refused:
            await metrics(events, all_accounts=True, start_date=start, **hourly)
        assert refused.value.field == "start_date"

    run_scenario.shared(scenario)
