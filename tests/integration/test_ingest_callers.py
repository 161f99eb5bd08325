"""A customer is set up by the API alone: an operator creates its account, the account its tenants
and keys. Nobody sees what belongs to another."""

from typing import Any
from uuid import uuid4

from services.ingest.api.callers import CallerKind
from services.ingest.api.operations import OPERATIONS
from tests.support.ingest import IngestHarness, email
from tests.support.mailboxes import make_mailbox
from tests.support.stack import shared_harness_fixture

harness = shared_harness_fixture(IngestHarness)


async def ids(harness: IngestHarness, path: str, key: str, **headers: str) -> set[str]:
    found = await harness.request("GET", path, key=key, headers=headers)
    assert found.status == 200, found.raw
    return {one["id"] for one in found.json["data"]}


async def test_a_customer_is_set_up_by_the_api_alone(harness: IngestHarness) -> None:
    async with harness.shared():
        operator = await harness.operator_key()
        account, account_key = await harness.make_account(operator, "Acme")
        assert account["id"] in await ids(harness, "/v1/accounts", operator)
        got = await harness.request("GET", f"/v1/accounts/{account['id']}", key=account_key)
        assert got.json == account

        shop = await harness.make("/v1/tenants", account_key, name="Shop", external_id="17")
        named = await harness.make(
            "/v1/api-keys", account_key, name="shop", tenant_id=shop["id"], test=True
        )
        alone = await harness.make("/v1/api-keys", account_key, name="blog", test=True)
        assert named["tenant_id"] == shop["id"] != alone["tenant_id"]
        tenants = {shop["id"], alone["tenant_id"]}
        assert await ids(harness, "/v1/tenants", account_key) == tenants
        assert await ids(harness, "/v1/tenants?external_id=17", account_key) == {shop["id"]}

        keys = await ids(harness, "/v1/api-keys", account_key)
        assert {named["id"], alone["id"]} < keys
        of_shop = await ids(harness, "/v1/api-keys", account_key, **{"X-Tenant-Id": shop["id"]})
        assert of_shop == {named["id"]}
        assert await ids(harness, "/v1/api-keys", alone["token"]) == {alone["id"]}


async def test_the_key_of_an_account_sends_for_the_tenant_that_it_names(
    harness: IngestHarness,
) -> None:
    async with harness.shared():
        await harness.sign_up(test=False)
        operator = await harness.operator_key()
        account_id = (await harness.request("GET", "/v1/api-keys")).json["data"][0]["account_id"]
        made = await harness.make(
            "/v1/api-keys", operator, name="all", kind="account", account_id=account_id
        )
        key, body = made["token"], email(to="ann@receiver.com")
        tenant = {"X-Tenant-Id": harness.tenant_id}
        sent = await harness.request("POST", "/v1/emails", body, key=key, headers=tenant)
        assert sent.status == 202
        assert (await harness.accepted(sent.json["id"]))[0].context.tenant_id == harness.tenant_id
        for route in ("/v1/emails", "/v1/emails/batch"):
            unnamed = await harness.request("POST", route, body, key=key)
            assert (unnamed.status, unnamed.json["name"]) == (422, "missing_required_field")
        _, stranger = await harness.make_account(operator, "Stranger")
        foreign = await harness.request("POST", "/v1/emails", body, key=stranger, headers=tenant)
        missing = await harness.request(
            "POST", "/v1/emails", body, key=stranger, headers={"X-Tenant-Id": str(uuid4())}
        )
        assert foreign.status == missing.status == 404
        assert comparable(foreign.json) == comparable(missing.json)


def comparable(problem: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in problem.items() if name != "request_id"}


async def test_an_external_id_is_unique_within_its_account(harness: IngestHarness) -> None:
    async with harness.shared():
        operator = await harness.operator_key()
        (_, mine), (_, other) = [await harness.make_account(operator, one) for one in "ab"]
        for key in (mine, other):
            await harness.make("/v1/tenants", key, name="Shop", external_id="17")
        again = await harness.request(
            "POST", "/v1/tenants", {"name": "Again", "external_id": "17"}, key=mine
        )
        assert (again.status, again.json["name"]) == (409, "already_exists")
        assert again.json["errors"][0]["pointer"] == "#/external_id"


async def test_what_belongs_to_another_account_is_like_what_does_not_exist(
    harness: IngestHarness,
) -> None:
    """Every operation on a tenant, a key, a mailbox or an account, from the table of operations."""
    async with harness.shared():
        operator = await harness.operator_key()
        account, mine = await harness.make_account(operator, "mine")
        _, other = await harness.make_account(operator, "other")
        made = await harness.make("/v1/api-keys", mine, name="shop")
        neighbor = await harness.make("/v1/api-keys", mine, name="blog")
        known = {
            "tenant_id": made["tenant_id"], "key_id": made["id"], "account_id": account["id"],
            "mailbox_id": await make_mailbox(harness, made["tenant_id"]),
        }  # fmt: skip
        tried = 0
        for name, operation in OPERATIONS.items():
            method, path = name.split(" ")
            parameter = path.partition("{")[2].partition("}")[0]
            keys = {CallerKind.ACCOUNT: other, CallerKind.TENANT: neighbor["token"]}
            for kind in keys.keys() & set(operation.access.callers) if parameter in known else ():
                problems = []
                for identifier in (known[parameter], str(uuid4())):
                    url = path.replace(f"{{{parameter}}}", identifier)
                    response = await harness.request(
                        method.upper(), url, operation.example, key=keys[kind]
                    )
                    assert response.status == 404, (name, kind, response.raw)
                    problems.append({**comparable(response.json), "instance": ""})
                assert problems[0] == problems[1], name
                tried += 1
        assert tried >= 20
        assert made["id"] in await ids(harness, "/v1/api-keys", mine)
