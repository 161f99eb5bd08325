"""Campaigns are listed to their tenant, to its account and to operators, on real PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from contracts.ingest.v1.directory_pb2 import Tenant
from contracts.shield.v1 import shield_service_pb2 as pb
from contracts.shield.v1.learning_pb2 import CampaignAssessed
from kernel import ids
from kernel.rpc import RpcError, RpcUnavailable
from tests.integration.test_shield import ShieldHarness
from tests.support.stack import FreshDatabase

ACCOUNT, OTHER_ACCOUNT = str(uuid4()), str(uuid4())
SHOP, BLOG, STRANGER = (
    Tenant(tenant_id=str(uuid4()), account_id=account, version=1)
    for account in (ACCOUNT, ACCOUNT, OTHER_ACCOUNT)
)
HELD = CampaignAssessed(change="held", evidence=5.4, allowed=2_000, enforced=True)
WATCHED = CampaignAssessed(change="held", evidence=5.4, allowed=2_000)
PACED = CampaignAssessed(change="paced", allowed=2_000, enforced=True)
FREE = CampaignAssessed(change="released", enforced=True)


@pytest.fixture
def post(bootstrap_servers: str, database: FreshDatabase, tmp_path: Path) -> ShieldHarness:
    return ShieldHarness(bootstrap_servers, f"c{uuid4().hex[:8]}.", tmp_path, database)


async def listed(call: Any, stub: Any, **request: Any) -> list[str]:  # noqa: ANN401 - any fields
    """The ids on all pages."""
    found, after = list[str](), ""
    while True:
        wanted = pb.ListCampaignsRequest(**request, limit=2, after=after)
        page = await call(stub.ListCampaigns, wanted)
        found += [one.campaign_id for one in page.campaigns]
        if not (after := page.next):
            return found


@asynccontextmanager
async def serving(post: ShieldHarness) -> AsyncIterator[tuple[Any, Any]]:
    """Once it knows the tenants."""
    await post.publish(SHOP, BLOG, STRANGER)
    async with post.running(), post.rpc() as (call, stub), asyncio.timeout(240):
        for account_id in (ACCOUNT, OTHER_ACCOUNT):
            known = list[str]()
            while not known:
                with suppress(RpcUnavailable):
                    known = await listed(call, stub, account_id=account_id)
                await asyncio.sleep(0.1)
        yield call, stub


async def test_campaigns_are_listed_to_their_owners_newest_first(post: ShieldHarness) -> None:
    new = [ids.uuid7_text() for _ in range(6)]
    owners = (SHOP, BLOG, STRANGER, SHOP, BLOG, SHOP)
    assessments = (HELD, PACED, HELD, WATCHED, FREE, None)
    for campaign_id, tenant, assessed in zip(new, owners, assessments, strict=True):
        post.add_campaign(campaign_id, tenant.tenant_id, assessed and assessed.SerializeToString())
    shop_held, blog_paced, foreign, shop_watched, blog_free, shop_new = new
    async with serving(post) as (call, stub):
        of_shop, of_account = {"tenant_id": SHOP.tenant_id}, {"account_id": ACCOUNT}
        assert await listed(call, stub, **of_shop) == [shop_new, shop_watched, shop_held]
        assert await listed(call, stub, **of_account) == [
            one for one in new[::-1] if one != foreign
        ]
        assert [one for one in await listed(call, stub) if one in new] == new[::-1]
        held = [shop_watched, shop_held]
        assert await listed(call, stub, **of_account, assessment="held") == held
        assert await listed(call, stub, **of_account, action="held") == [shop_held]
        assert await listed(call, stub, **of_account, action="limited") == [blog_paced]
        assert await listed(call, stub, **of_account, action="none") == [blog_free, shop_watched]

        for own in (of_shop, of_account, {}):
            request = pb.GetCampaignRequest(**own, id=shop_held)
            campaign = (await call(stub.GetCampaign, request)).campaign
            assert (campaign.assessed, campaign.action) == (HELD, "held")
        for other in ({"tenant_id": BLOG.tenant_id}, {"account_id": OTHER_ACCOUNT}):
            with pytest.raises(RpcError, match="campaign not found"):
                await call(stub.GetCampaign, pb.GetCampaignRequest(**other, id=shop_held))
