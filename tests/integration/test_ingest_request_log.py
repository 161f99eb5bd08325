"""The log of API requests on PostgreSQL: what it has, who sees it, and what an outage costs."""

import json
from collections.abc import Awaitable, Callable
from typing import Any, cast

import grpc

from contracts.ingest.v1 import log_service_pb2 as pb
from contracts.ingest.v1.log_service_pb2_grpc import LogServiceStub
from kernel.metrics import requests_unlogged
from services.ingest.store import request_log
from services.ingest.store.retention import RetentionStore
from tests.support.ingest import IngestHarness, email
from tests.support.polling import until
from tests.support.stack import opened, shared_harness_fixture

harness = shared_harness_fixture(IngestHarness)
LOGS = "/v1/logs"


async def logs_of(harness: IngestHarness, count: int, **more: Any) -> list[dict[str, Any]]:  # noqa: ANN401
    """The log without requests for itself, once it has so many."""
    found: list[dict[str, Any]] = []

    async def are_there() -> bool:
        listed = await harness.request("GET", f"{LOGS}?limit=100", **more)
        found[:] = [one for one in listed.json["data"] if not one["endpoint"].startswith("/logs")]
        return len(found) >= count

    await until(are_there)
    return found


async def test_a_request_is_logged_with_the_bodies_of_a_refusal(harness: IngestHarness) -> None:
    async with harness.shared():
        await harness.sign_up()
        accepted = await harness.send()
        wrong = email(to="ann@example.net", subject=["Secret"])
        refused = await harness.request("POST", "/v1/emails", wrong)
        assert refused.status == 422
        missing = await harness.request("GET", "/v1/suppressions/ann@example.net")
        newest, second, oldest = await logs_of(harness, 3)
        assert [newest["method"], newest["endpoint"]] == ["GET", "/suppressions/{email}"]
        assert newest["response_status"] == missing.status
        assert [oldest["endpoint"], oldest["response_status"]] == ["/emails", 202]
        assert oldest["request_id"] == accepted.headers["x-request-id"]
        assert "aiohttp" in oldest["user_agent"]
        whole = (await harness.request("GET", f"{LOGS}/{second['id']}")).json
        assert whole["object"] == "log"
        assert whole["request_body"]["to"] == "[15 characters]"
        assert whole["response_body"]["name"] == "validation_error"
        assert "ann@" not in json.dumps(whole)
        assert "Secret" not in json.dumps(whole)
        plain = (await harness.request("GET", f"{LOGS}/{oldest['id']}")).json
        assert (plain["request_body"], plain["response_body"]) == (None, None)


async def test_each_sees_only_its_own_requests(harness: IngestHarness) -> None:
    async with harness.shared():
        first = await harness.sign_up(test=False)
        mine = await harness.request("GET", "/v1/domains")
        await harness.sign_up(test=False, domain="other.obm-sandbox.net")
        await harness.request("GET", "/v1/webhooks")
        assert [one["endpoint"] for one in await logs_of(harness, 1)] == ["/webhooks"]
        [logged] = await logs_of(harness, 1, key=first)
        assert logged["request_id"] == mine.headers["x-request-id"]
        foreign = await harness.request("GET", f"{LOGS}/{logged['id']}")
        assert foreign.status == 404
        _, key = await harness.make_account(await harness.operator_key(), "Acme")
        tenant = await harness.make("/v1/tenants", key, name="shop")
        named = {"X-Tenant-Id": tenant["id"]}
        await harness.request("GET", "/v1/domains", key=key, headers=named)
        whole = await logs_of(harness, 2, key=key)
        assert [one["endpoint"] for one in whole] == ["/domains", "/tenants"]
        [of_tenant] = await logs_of(harness, 1, key=key, headers=named)
        assert of_tenant["id"] == whole[0]["id"]


async def test_calls_by_grpc_are_logged_and_listed(harness: IngestHarness) -> None:
    async with harness.shared():
        await harness.sign_up()
        metadata = (("authorization", f"Bearer {harness.key}"),)
        address = f"127.0.0.1:{harness.ports.ingest_grpc}"
        async with grpc.aio.insecure_channel(address) as channel:
            stub = LogServiceStub(channel)

            async def calls() -> list[pb.LogSummary]:
                listed = await stub.ListLogs(pb.ListLogsRequest(), metadata=metadata)
                return list(listed.logs)

            assert await calls() == []
            await until(lambda: _is_true(calls))
            logged = (await calls())[-1]
            assert (logged.endpoint, logged.response_status) == ("/LogService/ListLogs", 200)
            request = pb.GetLogRequest(id=logged.id)
            found = (await stub.GetLog(request, metadata=metadata)).log
            assert found.user_agent.startswith("grpc-python")


async def _is_true(calls: Callable[[], Awaitable[list[pb.LogSummary]]]) -> bool:
    return bool(await calls())


async def test_without_its_table_requests_pass_and_the_loss_is_counted(
    harness: IngestHarness,
) -> None:
    before = requests_unlogged._value.get()
    async with harness.shared():
        await harness.sign_up()
        with harness.database.connect() as owner:
            owner.execute("ALTER TABLE ingest.requests RENAME TO gone")
        assert (await harness.send()).status == 202

        async def is_counted() -> bool:
            return bool(requests_unlogged._value.get() > before)

        await until(is_counted)
        with harness.database.connect() as owner:
            owner.execute("ALTER TABLE ingest.gone RENAME TO requests")
        await harness.request("GET", "/v1/domains")
        assert [one["endpoint"] for one in await logs_of(harness, 1)] == ["/domains"]


async def test_days_beyond_the_retention_are_dropped(harness: IngestHarness) -> None:
    with harness.database.connect() as owner:
        owner.execute(
            "SELECT ingest.ensure_day_partition('requests', (now() - interval '32 days')::date)"
        )
        [(count,)] = cast(
            Any, owner.execute("SELECT count(*) FROM ingest.day_partitions('requests')")
        )
    async with opened(harness.settings().system_database_url) as database:
        await RetentionStore(database, retention_days=30).drop_requests()
    with harness.database.connect() as owner:
        [(left,)] = cast(
            Any, owner.execute("SELECT count(*) FROM ingest.day_partitions('requests')")
        )
    assert left == count - 1
    assert request_log.RETENTION.days == 30
