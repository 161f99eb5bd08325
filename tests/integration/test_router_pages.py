"""Pages of limits and egress sources by RPC, on real PostgreSQL and Kafka."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import pairwise
from typing import Any
from uuid import uuid4

from google.protobuf.timestamp_pb2 import Timestamp

from contracts.router.v1 import egress_service_pb2 as egress_pb
from contracts.router.v1 import policy_service_pb2 as pb
from contracts.router.v1.egress_service_pb2_grpc import EgressServiceStub
from contracts.router.v1.policies_pb2 import LimitsChanged, PolicyCommand
from contracts.router.v1.policy_service_pb2_grpc import PolicyServiceStub
from kernel.rpc import RpcClient
from tests.support.router import TOKEN, RouterHarness
from tests.support.stack import harness_fixture

harness = harness_fixture(RouterHarness, scope="function")
TENANTS = sorted(str(uuid4()) for _ in range(12))
COUNTED = """
INSERT INTO router.counters (cell, scope, window_key, value, expires_at)
SELECT 'default', 'tenant/' || id, 'per_hour/' || floor(extract(epoch FROM now()) / 300), 40,
    now() + interval '1 hour'
FROM unnest(%s::uuid[]) AS id
"""


class Router:
    """Calls its RPCs."""

    def __init__(self, client: RpcClient) -> None:
        self._client = client
        self.policies: Any = PolicyServiceStub(client.channel)
        self.egress: Any = EgressServiceStub(client.channel)

    async def call(self, method: Any, request: Any) -> Any:  # noqa: ANN401 - a protobuf's
        return await self._client.call(method, request, deadline_s=60.0)

    async def limits(self, **fields: Any) -> pb.ListLimitsResponse:  # noqa: ANN401
        found: pb.ListLimitsResponse = await self.call(
            self.policies.ListLimits, pb.ListLimitsRequest(**fields)
        )
        return found

    async def sources(self, **fields: Any) -> pb.ListSourcesResponse:  # noqa: ANN401
        found: pb.ListSourcesResponse = await self.call(
            self.policies.ListSources, pb.ListSourcesRequest(**fields)
        )
        return found

    async def set_limits(self, scope: str, **limits: int) -> None:
        now = Timestamp()
        now.GetCurrentTime()
        change = LimitsChanged(scope=scope, changed_at=now, changed_by="ann", **limits)  # type: ignore[arg-type]
        command = PolicyCommand(set_limits=change)
        await self.call(self.policies.Execute, pb.ExecuteRequest(command=command))


@asynccontextmanager
async def router(harness: RouterHarness) -> AsyncIterator[Router]:
    async with harness.running():
        client = RpcClient("router", harness.rpc_address, TOKEN)
        try:
            yield Router(client)
        finally:
            await client.close()


def keys(response: pb.ListLimitsResponse) -> list[tuple[str, str]]:
    return [(one.scope, one.limit) for one in response.limits]


async def test_limits_are_read_page_by_page(harness: RouterHarness) -> None:
    async with router(harness) as rpc:
        for tenant in TENANTS[::2]:
            await rpc.set_limits(f"tenant/{tenant}", per_hour=50, per_day=500)
        await rpc.set_limits("site/x.example", per_hour=7)
        await rpc.set_limits("site/x.example.org", per_hour=7)
        with harness.database.connect() as owner:
            owner.execute(COUNTED, (TENANTS,))  # half of them have no limits

        whole = keys(await rpc.limits(limit=100))
        own = [(f"tenant/{one}", name) for one in TENANTS[::2] for name in ("per_day", "per_hour")]
        assert [one for one in whole if one[0].startswith("tenant/")] == own[::-1]
        assert all(newer > older for newer, older in pairwise(whole))
        found: list[tuple[str, str]] = []
        has_more = True
        while has_more:
            after = found[-1] if found else ("", "")
            page = await rpc.limits(limit=5, after_scope=after[0], after_limit=after[1])
            found += keys(page)
            has_more = page.has_more
        assert found == whole
        [first, *_] = (await rpc.limits(scope=TENANTS[0])).limits
        assert (first.limit, first.used, first.set_by) == ("per_hour", 40, "ann")
        assert keys(await rpc.limits(scope=TENANTS[1])) == []
        of_site = await rpc.limits(scope="x.example", limit=1)
        assert (keys(of_site), of_site.has_more) == ([("site/x.example.org", "per_hour")], True)


async def test_egress_sources_are_read_page_by_page(harness: RouterHarness) -> None:
    async with router(harness) as rpc:
        pool = (await rpc.call(rpc.policies.AddPool, pb.AddPoolRequest(name="other"))).pool.pool_id
        added = []
        for number in range(5):
            request = egress_pb.AddSourceRequest(
                addresses=[f"192.0.2.{number + 1}"], pool_id=pool if number % 2 else "",
                ramp="default",
            )  # fmt: skip
            source = (await rpc.call(rpc.egress.AddSource, request)).source
            added.append(source.egress_id)
        [last] = (await rpc.sources(egress_id=added[-1])).sources
        assert (last.state, last.warmup.state.stage) == ("warming", 0)

        whole = [one.source.egress_id for one in (await rpc.sources()).sources]
        assert whole[:5] == added[::-1]
        page = await rpc.sources(limit=2)
        then = await rpc.sources(limit=2, after=page.sources[-1].source.egress_id)
        shown = [one.source.egress_id for one in (*page.sources, *then.sources)]
        assert (shown, page.has_more) == (whole[:4], True)
        in_pool = [one.source.egress_id for one in (await rpc.sources(pool_ids=[pool])).sources]
        assert in_pool == [added[3], added[1]]
        [found] = (await rpc.sources(address="192.0.2.3")).sources
        assert found.source.egress_id == added[2]
        removal = egress_pb.RemoveSourceRequest(egress_id=added[2])
        await rpc.call(rpc.egress.RemoveSource, removal)
        assert (await rpc.sources(egress_id=added[2])).sources == []
