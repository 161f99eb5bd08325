"""A customer is set up by gRPC alone, with the results and the audit entries of REST. Nobody sees
what belongs to another."""

from functools import partial
from typing import Any
from uuid import uuid4

import grpc
import grpc.aio
from google.protobuf.timestamp_pb2 import Timestamp
from grpc_reflection.v1alpha.reflection_pb2 import ServerReflectionRequest
from grpc_reflection.v1alpha.reflection_pb2_grpc import ServerReflectionStub

from services.ingest.api.callers import CallerKind
from services.ingest.api.grpc.base import rule_of
from services.ingest.api.operations import OPERATIONS
from tests.support.grpc_client import RPCS, client, fields_of, without_nothing
from tests.support.ingest import IngestHarness
from tests.support.mailboxes import make_mailbox
from tests.support.stack import harness_fixture

WITH_HOST = partial(IngestHarness, extra={"bounce_mx": "mx.example.net"})
harness = harness_fixture(WITH_HOST, scope="function")
OF_LISTS = {"page_size", "page_token"}
DOMAIN = "shop.customer.org"


async def test_a_customer_is_set_up_by_grpc_alone(harness: IngestHarness) -> None:
    async with client(harness) as rpc:
        operator = await harness.operator_key()
        made = await rpc.call("CreateAccount", operator, name="Acme", plan="pro")
        account = made.account
        key = await rpc.call(
            "CreateApiKey", operator, name="first", kind="account", account_id=account.id
        )
        shop = (await rpc.call("CreateTenant", key.token, name="Shop", external_id="17")).tenant
        changed = await rpc.call("UpdateTenant", key.token, id=shop.id, limits={"per_day": 5_000})
        assert (changed.tenant.limits.per_day, changed.tenant.name) == (5_000, "Shop")
        test_key = await rpc.call(
            "CreateApiKey", key.token, name="CI", tenant_id=shop.id, test=True
        )
        rotated = await rpc.call("RotateApiKey", key.token, id=test_key.api_key.id, grace_s=0)
        assert rotated.api_key.rotated_from == test_key.api_key.id
        listed = await rpc.call("ListTenants", key.token, external_id="17")
        assert [one.id for one in listed.tenants] == [shop.id]

        for path, shown in (
            (f"/v1/accounts/{account.id}", account),
            (f"/v1/tenants/{shop.id}", changed.tenant),
        ):
            rest = await harness.request("GET", path, key=key.token)
            assert fields_of(shown) == without_nothing(rest.json)
        assert (await harness.request("GET", "/v1/api-keys", key=rotated.token)).status == 200

        await rpc.call("DeleteApiKey", key.token, id=rotated.api_key.id)
        reason, *_ = await rpc.refusal("DeleteTenant", key.token, id=shop.id)
        assert reason == "tenant_in_use"  # the first key, although it has expired
        await rpc.call("DeleteApiKey", key.token, id=test_key.api_key.id)
        assert (await rpc.call("DeleteTenant", key.token, id=shop.id)).id == shop.id
        assert (await rpc.refusal("GetTenant", key.token, id=shop.id))[0] == "not_found"


async def test_a_pause_and_a_suspension_are_those_of_rest(harness: IngestHarness) -> None:
    async with client(harness) as rpc:
        operator = await harness.operator_key()
        account, key = await harness.make_account(operator, "Acme")
        shop = await harness.make("/v1/tenants", key, name="Shop")
        until = Timestamp(seconds=4_000_000_000)
        paused = await rpc.call("PauseTenant", operator, id=shop["id"], reason="x", until=until)
        assert (paused.tenant.pause.by, paused.tenant.pause.until) == ("operator", until)
        reason, *_ = await rpc.refusal("ResumeTenant", key, id=shop["id"])
        assert reason == "restricted_api_key"
        # Without a router its waiting mail cannot be resumed: the operator repeats the request.
        assert (await rpc.refusal("ResumeTenant", operator, id=shop["id"]))[0] == (
            "service_unavailable"
        )
        assert (await rpc.call("GetTenant", operator, id=shop["id"])).tenant.status == "active"
        suspended = await rpc.call("SuspendAccount", operator, id=account["id"], reason="unpaid")
        assert (suspended.account.status, suspended.account.status_reason) == (
            "suspended",
            "unpaid",
        )
        resumed = await rpc.call("ResumeAccount", operator, id=account["id"])
        assert resumed.account.status == "active"


async def test_an_act_is_recorded_like_one_by_rest(harness: IngestHarness) -> None:
    async with client(harness) as rpc:
        operator = await harness.operator_key()
        _, key = await harness.make_account(operator, "Acme")
        by_rest = await harness.make("/v1/tenants", key, name="Shop")
        by_grpc = (await rpc.call("CreateTenant", key, name="Shop")).tenant
        entries = (await harness.request("GET", "/v1/audit?resource=tenant", key=key)).json["data"]
        assert [one["resource_id"] for one in entries] == [by_grpc.id, by_rest["id"]]
        for one in entries:
            assert one["request_id"].startswith("req_")
            assert one["after"].pop("tenant_id") == one["resource_id"]
            assert one["tenant_id"] == one["resource_id"]
        own = {"id", "created_at", "request_id", "resource_id", "tenant_id"}
        first, second = ({k: v for k, v in one.items() if k not in own} for one in entries)
        assert first == second


async def test_refusals_have_the_names_and_words_of_rest(harness: IngestHarness) -> None:
    async with client(harness) as rpc:
        operator = await harness.operator_key()
        _, key = await harness.make_account(operator, "Acme")
        await harness.make("/v1/tenants", key, name="Shop", external_id="17")
        refused_bodies: list[tuple[str, str, dict[str, Any]]] = [
            ("CreateTenant", "/v1/tenants", {}),
            ("CreateTenant", "/v1/tenants", {"name": "x" * 201}),
            ("CreateTenant", "/v1/tenants", {"name": "a\u202eb"}),
            ("CreateTenant", "/v1/tenants", {"name": "Shop", "external_id": "17"}),
            ("CreateTenant", "/v1/tenants", {"name": "Shop", "account_id": "x"}),
            ("CreateApiKey", "/v1/api-keys", {"name": "a", "kind": "operator"}),
            ("CreateApiKey", "/v1/api-keys", {"name": "a", "cidrs": ["x"]}),
            ("CreateApiKey", "/v1/api-keys", {"name": "a", "permission": "x"}),
            ("CreateApiKey", "/v1/api-keys", {"name": "a", "tenant_id": str(uuid4())}),
        ]
        for name, path, body in refused_bodies:
            rest = (await harness.request("POST", path, body, key=key)).json
            pointers = [one["pointer"].removeprefix("#/") for one in rest["errors"]]
            refused = await rpc.refusal(name, key, **body)
            assert refused == (rest["name"], rest["detail"], pointers), body
        refused_fields: list[tuple[str, dict[str, Any], str]] = [
            ("ListTenants", {"page_token": "x"}, "page_token"),
            ("ListTenants", {"external_id": "a\0"}, "external_id"),
            ("ListTenants", {"account_id": "x"}, "account_id"),
            ("PauseTenant", {"id": str(uuid4()), "reason": "a\0"}, "reason"),
        ]
        for name, fields, field in refused_fields:
            reason, _, fields_named = await rpc.refusal(name, key, **fields)
            assert (reason, fields_named) == ("validation_error", [field])


async def test_a_domain_is_added_rotated_and_deleted_by_grpc(harness: IngestHarness) -> None:
    async with client(harness) as rpc:
        operator = await harness.operator_key()
        _, key = await harness.make_account(operator, "Acme")
        shop = await harness.make("/v1/tenants", key, name="Shop")
        made = (await rpc.call("CreateDomain", operator, shop["id"], name=DOMAIN)).domain
        path, headers = f"/v1/domains/{made.id}", {"X-Tenant-Id": shop["id"]}
        rest = await harness.request("GET", path, key=key, headers=headers)
        assert without_nothing(fields_of(made)) == without_nothing(rest.json)
        assert (made.status, made.records[0].record) == ("not_started", "DKIM")
        for caller, tenant in ((key, ""), (operator, ""), (key, shop["id"])):
            listed = await rpc.call("ListDomains", caller, tenant, name=DOMAIN.upper())
            assert [one.id for one in listed.domains] == [made.id]
        await rpc.call("VerifyDomain", key, shop["id"], id=made.id)
        rotated = (await rpc.call("RotateDkim", key, shop["id"], id=made.id)).domain
        assert rotated.rotation.status == "pending"
        again = await rpc.refusal("CreateDomain", key, shop["id"], name=DOMAIN)
        assert (again[0], again[2]) == ("already_exists", ["name"])
        tracked = await rpc.refusal(
            "UpdateDomain", key, shop["id"], id=made.id, click_tracking=True
        )
        assert (tracked[0], tracked[2]) == ("tracking_not_allowed", ["click_tracking"])
        vouched = await rpc.refusal("CreateDomain", key, shop["id"], name="x.test", vouched=True)
        assert vouched[:2] == ("restricted_api_key", "Only an operator can vouch for a domain.")
        deleted = await rpc.call("DeleteDomain", key, shop["id"], id=made.id, force=True)
        assert deleted.id == made.id
        entries = (await harness.request("GET", "/v1/audit?resource=domain", key=key)).json["data"]
        assert [one["actor"]["kind"] for one in entries] == ["account"] * 3 + ["operator"]


async def test_a_mailbox_is_made_changed_and_deleted_by_grpc(harness: IngestHarness) -> None:
    async with client(harness) as rpc:
        operator = await harness.operator_key()
        _, key = await harness.make_account(operator, "Acme")
        shop = (await harness.make("/v1/tenants", key, name="Shop"))["id"]
        async with harness.directory() as directory:
            await directory.add_domain(DOMAIN, tenant=shop, verified=True)
        ann, limits = f"ann@{DOMAIN}", {"per_day": 5}
        made = await rpc.call("CreateMailbox", operator, shop, address=ann, limits=limits)
        path = f"/v1/mailboxes/{made.mailbox.id}"
        rest = (await harness.request("GET", path, key=key)).json
        assert without_nothing(fields_of(made.mailbox)) == without_nothing(rest)
        assert len(made.password) >= 20
        others = [{"address": f"{name}@{DOMAIN}", "test": True} for name in ("bob", "cy")]
        batch = await rpc.call("CreateMailboxes", key, shop, mailboxes=others)
        ids = [one.mailbox.id for one in batch.created]
        for named in ("", shop):
            page = await rpc.call("ListMailboxes", key, named, page_size=2)
            assert [one.id for one in page.mailboxes] == ids[::-1]
            last = await rpc.call("ListMailboxes", key, named, page_token=page.next_page_token)
            assert [one.id for one in last.mailboxes] == [made.mailbox.id]
        refused = await rpc.refusal("CreateMailboxes", key, shop, mailboxes=[*others, {}])
        assert (refused[0], refused[2]) == ("missing_required_field", ["mailboxes.2.address"])
        refused = await rpc.refusal("CreateMailboxes", key, shop, mailboxes=[{"address": ann}])
        assert (refused[0], refused[2]) == ("already_exists", ["mailboxes.0.address"])
        paused = await rpc.call("UpdateMailbox", key, id=ids[0], status="paused")
        assert (paused.mailbox.status, paused.mailbox.address) == ("paused", f"bob@{DOMAIN}")
        rotated = await rpc.call("RotateMailbox", key, id=ids[0], grace_s=600)
        assert rotated.password != batch.created[0].password
        assert rotated.mailbox.HasField("previous_password_expires_at")
        assert (await rpc.refusal("RotateMailbox", key, id=ids[0]))[0] == "rotation_in_progress"
        await rpc.call("RotateMailbox", key, id=ids[0], force=True)
        assert (await rpc.call("DeleteMailbox", key, id=ids[0])).id == ids[0]
        assert (await rpc.refusal("GetMailbox", key, id=ids[0]))[0] == "not_found"


async def test_a_key_that_is_being_rotated_is_rotated_again_by_force(
    harness: IngestHarness,
) -> None:
    async with client(harness) as rpc:
        operator = await harness.operator_key()
        _, key = await harness.make_account(operator, "Acme")
        made = await rpc.call("CreateApiKey", key, name="shop")
        await rpc.call("RotateApiKey", key, id=made.api_key.id)
        refused = await rpc.refusal("RotateApiKey", key, id=made.api_key.id)
        assert refused[0] == "rotation_in_progress"
        again = await rpc.call("RotateApiKey", key, id=made.api_key.id, force=True)
        assert again.api_key.rotated_from == made.api_key.id


async def test_a_list_is_read_page_by_page(harness: IngestHarness) -> None:
    async with client(harness) as rpc:
        operator = await harness.operator_key()
        _, key = await harness.make_account(operator, "Acme")
        made = [await harness.make("/v1/tenants", key, name=f"t{n}") for n in range(5)]
        found, token = [], ""
        while True:
            page = await rpc.call("ListTenants", key, page_size=2, page_token=token)
            found += [one.id for one in page.tenants]
            if not (token := page.next_page_token):
                break
        assert found == [one["id"] for one in reversed(made)]


async def test_what_belongs_to_another_account_is_like_what_does_not_exist(
    harness: IngestHarness,
) -> None:
    """Every RPC with an id, from the descriptors."""
    async with client(harness) as rpc:
        operator = await harness.operator_key()
        account, mine = await harness.make_account(operator, "mine")
        _, other = await harness.make_account(operator, "other")
        made = await harness.make("/v1/api-keys", mine, name="shop")
        neighbor = await harness.make("/v1/api-keys", mine, name="blog")
        known = {
            "AccountService": account["id"],
            "TenantService": made["tenant_id"],
            "ApiKeyService": made["id"],
            "DomainService": (await harness.make("/v1/domains", made["token"], name=DOMAIN))["id"],
            "MailboxService": await make_mailbox(harness, made["tenant_id"]),
        }
        examples: dict[str, Any] = {one.id.lower(): one.example for one in OPERATIONS.values()}
        tried = 0
        for name, one in RPCS.items():
            noun = one.service.rpartition(".")[2]
            if noun not in known or "id" not in one.method.input_type.fields_by_name:
                continue
            keys = {CallerKind.ACCOUNT: other, CallerKind.TENANT: neighbor["token"]}
            if CallerKind.ACCOUNT in rule_of(name).names_tenant:
                del keys[CallerKind.ACCOUNT]  # it is refused for the tenant that it names
            for kind in keys.keys() & set(rule_of(name).callers):
                fields = examples[name.lower()] or {}
                foreign = await rpc.refusal(name, keys[kind], **fields, id=known[noun])
                missing = await rpc.refusal(name, keys[kind], **fields, id=str(uuid4()))
                assert foreign == missing, name
                assert foreign[0] == "not_found", name
                tried += 1
        assert tried >= 25
        assert made["id"] in str((await harness.request("GET", "/v1/api-keys", key=mine)).json)


async def test_reflection_lists_the_services_to_a_key_of_any_kind(harness: IngestHarness) -> None:
    address = f"127.0.0.1:{harness.ports.ingest_grpc}"
    async with harness.running(), grpc.aio.insecure_channel(address) as channel:
        info = ServerReflectionStub(channel).ServerReflectionInfo
        metadata = (("authorization", f"Bearer {await harness.operator_key()}"),)
        requests = [ServerReflectionRequest(list_services="")]
        [response] = [one async for one in info(iter(requests), metadata=metadata)]
        listed = {one.name for one in response.list_services_response.service}
        assert {one.service for one in RPCS.values()} < listed
