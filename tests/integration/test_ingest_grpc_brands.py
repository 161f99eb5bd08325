"""Brands by gRPC are those of REST."""

from tests.support.grpc_client import client, fields_of, without_nothing
from tests.support.ingest import IngestHarness
from tests.support.stack import harness_fixture

harness = harness_fixture(IngestHarness, scope="function")


async def test_a_brand_by_grpc_is_that_of_rest(harness: IngestHarness) -> None:
    async with client(harness) as rpc:
        operator = await harness.operator_key()
        fields = {"slug": "acme", "sandbox_domain": "box.acme.example"}
        hosts = ["api.by-grpc.example"]
        made = await rpc.call("CreateBrand", operator, name="Acme", api_hosts=hosts, **fields)
        taken = await rpc.refusal("CreateBrand", operator, name="B", api_hosts=hosts, **fields)
        assert (taken[0], taken[2]) == ("already_exists", ["api_hosts.0"])
        brand_id = made.brand.id
        changed = (await rpc.call("UpdateBrand", operator, id=brand_id, name="Post")).brand
        rest = await harness.request("GET", f"/v1/brands/{brand_id}", key=operator)
        assert fields_of(changed) == without_nothing(rest.json)
        first = await rpc.call("ListBrands", operator, page_size=1)
        assert [one.id for one in first.brands] == ["default"]
        token = first.next_page_token
        then = await rpc.call("ListBrands", operator, page_size=1, page_token=token)
        assert [one.id for one in then.brands] == [brand_id]
        assert (await rpc.refusal("UpdateBrand", operator, id="default"))[0] == "brand_in_file"
        account, key = await harness.make_account(operator, "Acme")
        assert (await rpc.refusal("GetBrand", key, id=brand_id))[0] == "not_found"
        await rpc.call("UpdateAccount", operator, id=account["id"], brand=brand_id)
        assert (await rpc.call("GetBrand", key, id=brand_id)).brand == changed
        assert (await rpc.refusal("DeleteBrand", operator, id=brand_id))[0] == "brand_in_use"
        await rpc.call("UpdateAccount", operator, id=account["id"], brand="")
        assert (await rpc.call("DeleteBrand", operator, id=brand_id)).id == brand_id
