"""Files of suppressions that hold for all tenants of an account."""

from typing import cast

import grpc

from contracts.ingest.v1 import suppression_service_pb2 as pb
from contracts.ingest.v1.suppression_service_pb2_grpc import SuppressionServiceStub
from tests.support.ingest import IngestHarness, Response
from tests.support.killed_ingest import run_until_killed
from tests.support.polling import until
from tests.support.suppressions import (
    CSV,
    FAST,
    IMPORTS,
    SLOW,
    MemoryRouter,
    completed,
    counts,
    file_of,
    harness_with_imports,
    router,
)

__all__ = ["router"]

harness = harness_with_imports()
OF_ACCOUNT = f"{IMPORTS}?scope=account"


async def send(harness: IngestHarness, octets: bytes, **named: str) -> Response:
    return await harness.request("POST", OF_ACCOUNT, octets, headers={**CSV, **named})


async def test_an_account_imports_for_all_its_tenants(
    harness: IngestHarness, router: MemoryRouter
) -> None:
    async with harness.running():
        operator = await harness.operator_key()
        account, harness.key = await harness.make_account(operator, "Acme")
        created = await send(harness, b"ann@x.example\nwrong\n")
        assert (created.json["scope"], created.json["tenant_id"]) == ("account", None)
        found = await completed(harness, created)
        assert counts(found) == (2, 1, 0, 1)
        [added] = router.suppressions.values()
        assert (added.account_id, added.tenant_id) == (account["id"], "")
        results = await harness.request("GET", f"{IMPORTS}/{found['id']}/results")
        assert [one["email"] for one in results.json["data"]] == ["wrong"]
        exported = await harness.request("GET", "/v1/suppressions/export")
        assert counts(await completed(harness, await send(harness, exported.raw))) == (1, 0, 1, 0)

        tenant = await harness.make("/v1/tenants", harness.key, name="shop")
        named = {"X-Tenant-Id": tenant["id"]}
        sent = await harness.request("POST", IMPORTS, b"bob@x.example\nno\n", headers=CSV | named)
        of_tenant = await completed(harness, sent)
        assert of_tenant["scope"] == "tenant"
        listed = (await harness.request("GET", IMPORTS)).json["data"]
        assert [one["tenant_id"] for one in listed] == [tenant["id"], None, None]
        results = await harness.request("GET", f"{IMPORTS}/{of_tenant['id']}/results")
        assert [one["email"] for one in results.json["data"]] == ["no"]
        only = (await harness.request("GET", IMPORTS, headers=named)).json["data"]
        assert [one["id"] for one in only] == [of_tenant["id"]]

        deleted = await harness.request("DELETE", f"{IMPORTS}/{found['id']}")
        assert deleted.status == 200
        entries = await harness.request("GET", "/v1/audit?resource=suppression_import")
        actions = [one["action"].partition(".")[2] for one in entries.json["data"]]
        assert actions == ["delete", "create", "create"]


async def test_an_import_for_an_account_is_nobody_elses(
    harness: IngestHarness, router: MemoryRouter
) -> None:
    async with harness.running():
        operator = await harness.operator_key()
        _, account = await harness.make_account(operator, "Acme")
        _, stranger = await harness.make_account(operator, "Other")
        own = await harness.make("/v1/api-keys", account, name="shop")
        foreign = await harness.make("/v1/api-keys", stranger, name="shop")
        harness.key = account
        import_id = (await completed(harness, await send(harness, b"ann@x.example\n")))["id"]
        for key, tenant_id in (
            (own["token"], ""),
            (foreign["token"], ""),
            (stranger, ""),
            (account, own["tenant_id"]),
            (operator, own["tenant_id"]),
        ):
            named = {"X-Tenant-Id": tenant_id} if tenant_id else {}
            for method, path in (
                ("GET", f"{IMPORTS}/{import_id}"),
                ("GET", f"{IMPORTS}/{import_id}/results"),
                ("DELETE", f"{IMPORTS}/{import_id}"),
            ):
                missing = await harness.request(method, path, key=key, headers=named)
                assert missing.status == 404
            assert not (await harness.request("GET", IMPORTS, key=key, headers=named)).json["data"]
        for key, named in ((own["token"], {}), (operator, {"X-Tenant-Id": own["tenant_id"]})):
            refused = await harness.request("POST", OF_ACCOUNT, b"", key=key, headers=CSV | named)
            assert (refused.status, refused.json["name"]) == (403, "restricted_api_key")
        unnamed = await harness.request("POST", IMPORTS, b"ann@x.example\n", headers=CSV)
        assert (unnamed.status, unnamed.json["errors"][0]["pointer"]) == (422, "#/scope")
        assert "scope account" in unnamed.json["detail"]


async def test_an_import_for_an_account_outlives_kills_and_is_sealed(
    harness: IngestHarness, router: MemoryRouter
) -> None:
    harness.extra |= SLOW
    async with harness.running():
        operator = await harness.operator_key()
        _, harness.key = await harness.make_account(operator, "Acme")
        created = await send(harness, file_of(1_200))
        with harness.database.connect() as owner:
            parts = "SELECT body FROM ingest.suppression_import_parts WHERE import_id = %s"
            rows = owner.execute(parts, (created.json["id"],)).fetchall()
        assert len(rows) == 2
        assert not any(b"x.example" in cast(bytes, body) for (body,) in rows)
    harness.extra |= FAST
    async with harness.serving_others():
        await run_until_killed(harness.settings(), "ingest.suppressions.added=kill@2")
    async with harness.running():
        assert counts(await completed(harness, created)) == (1_200, 1_200, 0, 0)


async def test_the_import_of_a_closed_account_ends(
    harness: IngestHarness, router: MemoryRouter
) -> None:
    async with harness.running():
        operator = await harness.operator_key()
        account, harness.key = await harness.make_account(operator, "Acme")
        router.is_available = False
        assert (await send(harness, b"ann@x.example\n")).status == 202
        closed = await harness.request("DELETE", f"/v1/accounts/{account['id']}", key=operator)
        assert closed.status == 200

        async def is_gone() -> bool:
            kept = "SELECT FROM ingest.suppression_imports WHERE account_id = %s"
            with harness.database.connect() as owner:
                return not owner.execute(kept, (account["id"],)).fetchall()

        await until(is_gone)  # without router: an attempt may have begun before the close
        router.is_available = True
        assert not router.suppressions


async def test_a_file_for_an_account_is_sent_and_read_by_grpc(
    harness: IngestHarness, router: MemoryRouter
) -> None:
    async with harness.running():
        _, harness.key = await harness.make_account(await harness.operator_key(), "Acme")
        metadata = (("authorization", f"Bearer {harness.key}"),)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{harness.ports.ingest_grpc}") as channel:
            stub = SuppressionServiceStub(channel)
            parts = [
                pb.CreateSuppressionImportRequest(csv=b"ann@x.", scope="account"),
                pb.CreateSuppressionImportRequest(csv=b"example\n"),
            ]
            made = await stub.CreateSuppressionImport(iter(parts), metadata=metadata)
            created = getattr(made, "import")
            assert (created.scope, created.tenant_id, created.lines) == ("account", "", 1)
            await until(lambda: bool_of(router))
            exported = stub.ExportSuppressions(pb.ExportSuppressionsRequest(), metadata=metadata)
            octets = b"".join([part.csv async for part in exported])
            assert octets.splitlines()[1].startswith(b"ann@x.example,manual")


async def bool_of(router: MemoryRouter) -> bool:
    return bool(router.suppressions)
