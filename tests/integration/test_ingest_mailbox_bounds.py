"""How many mailboxes a tenant can have, batches that name an address twice, and domains that have
mailboxes."""

import asyncio

from contracts.ingest.v1.directory_pb2 import Mailbox
from contracts.router.v1.router_service_pb2 import ListWaitingRequest, ListWaitingResponse
from contracts.router.v1.router_service_pb2_grpc import RouterServiceServicer
from kernel.rpc import Context
from tests.support.ingest import DOMAIN, IngestHarness
from tests.support.mailboxes import ANN, Client, act, in_thread, refusal
from tests.support.stack import harness_fixture

harness = harness_fixture(IngestHarness, scope="function")
MANY = [{"address": f"user{number}@{DOMAIN}"} for number in range(3)]
PATH, BATCH = "/v1/mailboxes", "/v1/mailboxes/batch"


class NothingWaits(RouterServiceServicer):
    """In place of the router."""

    async def ListWaiting(self, _: ListWaitingRequest, __: Context) -> ListWaitingResponse:  # noqa: N802
        return ListWaitingResponse()


async def addresses(harness: IngestHarness, **named: str) -> list[str]:
    found = await harness.request("GET", f"{PATH}?limit=100", **named)  # type: ignore[arg-type]
    return sorted(one["address"] for one in found.json["data"])


async def test_a_tenant_has_no_more_mailboxes_than_the_limit(harness: IngestHarness) -> None:
    harness.extra["tenant_mailboxes_max"] = 4
    async with harness.running():
        await harness.sign_up()
        await act(harness, "POST", BATCH, MANY)
        others = [{"address": f"more{number}@{DOMAIN}"} for number in range(3)]
        refused = await harness.request("POST", BATCH, others)
        assert refusal(refused) == (422, "validation_error", "#/1/address")
        assert refused.json["errors"][0]["code"] == "too_many"
        assert "A tenant can have 4 mailboxes" in refused.json["detail"]
        assert len(await addresses(harness)) == 3

        made = await asyncio.gather(*(harness.request("POST", PATH, one) for one in others))
        assert sorted(one.status for one in made) == [201, 422, 422]  # together, too
        [last] = [one for one in made if one.status == 201]
        refused = await harness.request("POST", PATH, {"address": ANN})
        assert refusal(refused) == (422, "validation_error", "#/address")
        await act(harness, "DELETE", f"{PATH}/{last.json['id']}")
        await act(harness, "POST", PATH, {"address": ANN})


async def test_a_batch_that_names_an_address_twice_is_refused_in_words(
    harness: IngestHarness,
) -> None:
    async with harness.running():
        await harness.sign_up(test=False)
        twice = [*MANY, {"address": MANY[0]["address"].upper()}]
        refused = await harness.request("POST", BATCH, twice)
        assert refusal(refused) == (422, "validation_error", "#/3/address")
        assert refused.json["errors"][0]["code"] == "duplicate"
        assert f"The batch names {MANY[0]['address']} twice" in refused.json["detail"]
        assert await addresses(harness) == []
        both = [MANY[0], {**MANY[0], "test": True}]  # one for the sandbox is another
        assert len((await act(harness, "POST", BATCH, both))["data"]) == 2


async def test_a_domain_with_mailboxes_is_deleted_with_them_by_force(
    harness: IngestHarness,
) -> None:
    harness.serve_submission()
    harness.router = NothingWaits()  # type: ignore[abstract]
    async with harness.running():
        await harness.sign_up(test=False)
        made = (await act(harness, "POST", BATCH, MANY))["data"]
        client, one = Client(harness), made[0]
        assert (await in_thread(lambda: client.log_in(one["address"], one["password"])))[0] == 235
        path = f"/v1/domains/{one['domain_id']}"
        in_use = await harness.request("DELETE", path)
        assert refusal(in_use)[:2] == (409, "domain_in_use")
        assert f"{DOMAIN} has 3 mailboxes" in in_use.json["detail"]
        assert len(await addresses(harness)) == 3
        await act(harness, "DELETE", f"{path}?force=true")
        assert await addresses(harness) == []
        assert (await in_thread(lambda: client.log_in(one["address"], one["password"])))[0] == 535
        refused = await harness.request("POST", PATH, MANY[0])
        assert refusal(refused) == (422, "validation_error", "#/address")

        operator = await harness.operator_key()
        found = await harness.request("GET", "/v1/audit?action=mailbox.delete", key=operator)
        mine = {entry["resource_id"]: entry for entry in found.json["data"]}
        assert {one["id"] for one in made} <= set(mine)
        assert mine[one["id"]]["before"]["address"] == one["address"]
        assert mine[one["id"]]["after"] is None

        gone = {entry.mailbox_id for entry in await harness.read_events(Mailbox) if entry.deleted}
        assert {one["id"] for one in made} <= gone


async def test_a_shared_domain_has_the_mailboxes_of_all_tenants(harness: IngestHarness) -> None:
    harness.router = NothingWaits()  # type: ignore[abstract]
    async with harness.running():
        _, account_key = await harness.make_account(await harness.operator_key(), "Shared")
        tenants = [
            await harness.make("/v1/tenants", account_key, name=name) for name in ("one", "two")
        ]
        async with harness.directory() as directory:
            shared = await directory.add_domain(
                "all.example.net", tenant=tenants[0]["id"], shared=True, verified=True
            )
        for tenant in tenants:
            made = await harness.request(
                "POST", PATH, {"address": "ann@all.example.net"},
                key=account_key, headers={"X-Tenant-Id": tenant["id"]},
            )  # fmt: skip
            assert made.status == 201, made.raw
        path = f"/v1/domains/{shared.domain_id}"
        named = {"X-Tenant-Id": tenants[0]["id"]}
        in_use = await harness.request("DELETE", path, key=account_key, headers=named)
        assert "has 2 mailboxes" in in_use.json["detail"]
        forced = await harness.request(
            "DELETE", f"{path}?force=true", key=account_key, headers=named
        )
        assert forced.status == 200, forced.raw
        assert await addresses(harness, key=account_key) == []
