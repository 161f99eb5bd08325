"""Health checks by the API: what other services and DNS say, kept with the time since when."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

import grpc
import grpc.aio
import pytest
from aiohttp import web

from contracts.events.v1 import events_service_pb2 as events_pb
from contracts.events.v1.events_service_pb2_grpc import EventsServiceServicer
from contracts.ingest.v1.health_service_pb2 import (
    CreateHostChallengeRequest,
    RunHealthChecksRequest,
)
from contracts.ingest.v1.health_service_pb2_grpc import HealthServiceStub
from contracts.router.v1 import policy_service_pb2 as pb
from contracts.router.v1.directory_pb2 import EgressSource, Pool
from contracts.router.v1.policies_pb2 import CheckOutcome
from contracts.router.v1.policy_service_pb2_grpc import (
    PolicyServiceServicer,
    add_PolicyServiceServicer_to_server,
)
from kernel import clock, metrics
from kernel.database import Database
from kernel.host_challenge import PATH, SMTP, HostChallenges, new_challenge
from kernel.rpc import RpcServer
from kernel.status import StatusSource, serve_status
from mail.dkim import zone_text
from services.ingest.clients.host_prober import HostProber
from tests.support.ingest import TOKEN, IngestHarness
from tests.support.name_server import name_server
from tests.support.polling import until
from tests.support.stack import harness_fixture

harness = harness_fixture(IngestHarness, scope="function")
POOL = "0d7e5a52-0000-7000-8000-000000000001"
OUT = "192.0.2.10"
PTR = CheckOutcome(check="ptr", address=OUT, problem="ptr_missing", advice="Publish a PTR record.")


class Policies(PolicyServiceServicer):
    """A router with one pool and one source."""

    def __init__(self) -> None:
        source = EgressSource(egress_id=POOL, pool_id=POOL, source_ip=OUT)
        self.source = pb.Source(source=source, state="active", problems=[PTR])
        self.pool = Pool(pool_id=POOL, name="default")
        self.cell = pb.Cell(cell="default", pools=1, owner="a process")

    async def ListPools(self, _: object, __: object) -> pb.ListPoolsResponse:  # noqa: N802
        return pb.ListPoolsResponse(pools=[self.pool])

    async def ListCells(self, _: object, __: object) -> pb.ListCellsResponse:  # noqa: N802
        return pb.ListCellsResponse(cells=[self.cell])

    async def ListSources(self, _: object, __: object) -> pb.ListSourcesResponse:  # noqa: N802
        return pb.ListSourcesResponse(sources=[self.source])


@asynccontextmanager
async def router(harness: IngestHarness, policies: Policies) -> AsyncIterator[None]:
    """Its RPCs, until the block ends."""
    database = Database(harness.database.system("router"), name="test")
    server = RpcServer(f"127.0.0.1:{harness.ports.router_rpc}", TOKEN)
    add_PolicyServiceServicer_to_server(policies, server.grpc)
    serve_status(server, StatusSource([harness.secret_key], database, "router", ["messages"]))
    task = asyncio.create_task(server.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
        await database.close()


def by_check(response: Any) -> dict[tuple[str, str], dict[str, Any]]:  # noqa: ANN401
    assert response.status == 200, response.raw
    return {(one["check"], one["subject"]): one for one in response.json["checks"]}


async def test_an_operator_runs_the_health_checks(harness: IngestHarness) -> None:
    harness.extra["bounce_mx"] = "mx.invalid"
    policies = Policies()  # type: ignore[abstract]
    async with router(harness, policies), harness.running():
        operator = await harness.operator_key()
        path = "/v1/health/checks"

        async def run() -> dict[tuple[str, str], dict[str, Any]]:
            return by_check(await harness.request("POST", path, key=operator))

        found = await run()
        for well in (
            ("secret_keys", "router"), ("clock", "router"), ("clock", "ingest"), ("spf", OUT),
            ("partitions", "ingest"), ("partitions", "router"), ("service", "router"),
            ("pool_active", "default"), ("tenant_pools", "all"), ("cell_owner", "default"),
        ):  # fmt: skip
            assert found[well]["status"] == "passed", found[well]
            assert found[well]["advice"] == ""
        assert found["service", "delivery"]["status"] == "failed"
        assert ("clock", "delivery") not in found
        problem = found["ptr", OUT]
        assert (problem["status"], problem["detail"]) == ("failed", "ptr_missing")
        assert problem["advice"] == "Publish a PTR record."

        # the same later: since when stays; mended: it changes
        again = await run()
        assert again["ptr", OUT]["since"] == problem["since"]
        assert again["ptr", OUT]["checked_at"] > problem["checked_at"]
        policies.source.ClearField("problems")
        policies.source.state = "suspended"
        policies.cell.owner = ""
        mended = await run()
        assert mended["ptr", OUT]["status"] == "passed"
        assert mended["ptr", OUT]["since"] > problem["since"]
        assert mended["pool_active", "default"]["status"] == "failed"
        assert mended["cell_owner", "default"]["status"] == "failed"
        listed = await harness.request("GET", path, key=operator)
        assert by_check(listed) == mended
        order = [one["status"] for one in listed.json["checks"]]
        assert order == sorted(order)  # those that failed first


class Figures(EventsServiceServicer):
    """events, with mail that was refused."""

    def __init__(self) -> None:
        self.refused = 2.0

    async def GetMetrics(self, _: object, __: object) -> events_pb.GetMetricsResponse:  # noqa: N802
        day = str(clock.now().date())
        row = events_pb.MetricsRow(keys=[day, "spam_block"], values=[self.refused])
        return events_pb.GetMetricsResponse(keys=["period", "bounce_class"], data=[row])


async def test_mail_that_is_refused_because_of_us_fails_until_it_is_read(
    harness: IngestHarness,
) -> None:
    figures = Figures()  # type: ignore[abstract]
    harness.events = figures
    async with harness.running():
        operator = await harness.operator_key()

        async def detail(path: str) -> str:
            found = by_check(await harness.request("POST", path, key=operator))
            assert found["infrastructure_bounces", "authentication_failed"]["status"] == "passed"
            return str(found["infrastructure_bounces", "spam_block"]["detail"])

        run, read = "/v1/health/checks", "/v1/health/bounces/read"
        assert (await detail(run)).startswith("2 refused")
        figures.refused = 3.0
        assert await detail(read) == ""  # of the two that it had found
        assert (await detail(run)).startswith("1 refused")
        assert await detail(read) == await detail(run) == ""


async def test_ingest_proves_that_a_host_leads_to_it(harness: IngestHarness) -> None:
    challenges, challenge = HostChallenges([harness.secret_key]), new_challenge()
    async with harness.running():
        response = await harness.request("GET", f"{PATH}{challenge}", key="")
        assert response.status == 200
        assert challenges.is_response(str(response.raw, "ascii"), challenge)


async def test_the_keys_of_a_feedback_domain_are_looked_up(harness: IngestHarness) -> None:
    policies = Policies()  # type: ignore[abstract]
    async with name_server({}) as (server, address):
        harness.extra |= {"nameservers": [address], "bounce_mx": "mx.platform.example"}
        async with router(harness, policies), harness.running():
            operator = await harness.operator_key()
            await harness.sign_up(test=False)
            made = await harness.request("POST", "/v1/domains", {"name": "fbl.customer.org"})
            policies.pool.feedback_domain_id = made.json["id"]
            keys = [one for one in made.json["records"] if one["record"] == "DKIM"]
            first, other = (one["name"] for one in keys)

            async def run() -> dict[str, dict[str, Any]]:
                response = await harness.request("POST", "/v1/health/checks", key=operator)
                found = by_check(response)
                return {subject: found[name, subject] for name, subject in found if name == "dkim"}

            server.records = {
                first: {"TXT": [zone_text(keys[0]["value"])]},
                other: {"TXT": [zone_text(keys[0]["value"])]},
            }
            found = await run()
            assert found[first]["status"] == "passed"
            assert "is not ours" in found[other]["detail"]
            assert keys[1]["value"] in found[other]["advice"]
            server.records = {}
            assert {one["status"] for one in (await run()).values()} == {"failed"}
            policies.pool.feedback_domain_id = POOL
            assert (await run()).keys() == {"default"}  # it was removed


async def test_health_checks_are_for_operators_by_grpc_too(harness: IngestHarness) -> None:
    address = f"127.0.0.1:{harness.ports.ingest_grpc}"
    async with harness.running():
        operator, path = await harness.operator_key(), "/v1/health/checks"
        known = by_check(await harness.request("POST", path, key=operator))
        async with grpc.aio.insecure_channel(address) as channel:
            response = await HealthServiceStub(channel).RunHealthChecks(
                RunHealthChecksRequest(), metadata=(("authorization", f"Bearer {operator}"),)
            )
            made = await HealthServiceStub(channel).CreateHostChallenge(
                CreateHostChallengeRequest(), metadata=(("authorization", f"Bearer {operator}"),)
            )
        assert {(one.check, one.subject) for one in response.report.checks} == known.keys()
        challenges = HostChallenges([harness.secret_key], SMTP)
        assert made.responses == challenges.responses_to(made.challenge)
        again = await harness.request("POST", "/v1/health/challenges", key=operator)
        assert again.json["responses"] == challenges.responses_to(again.json["challenge"])
        assert again.json["challenge"] != made.challenge

        await harness.sign_up()
        assert (await harness.request("POST", "/v1/health/challenges")).status == 403
        for method in ("GET", "POST"):
            refused = await harness.request(method, path)
            assert refused.status == 403


async def test_what_dns_does_not_answer_keeps_its_last_result(
    harness: IngestHarness, monkeypatch: pytest.MonkeyPatch
) -> None:
    harness.extra["bounce_mx"] = "mx.invalid"
    async with harness.running():
        operator, path = await harness.operator_key(), "/v1/health/checks"
        before = by_check(await harness.request("POST", path, key=operator))
        assert before["bounce_mx", "mx.invalid"]["status"] == "failed"

        async def fail(_: str) -> None:
            return None

        monkeypatch.setattr(HostProber, "addresses_of", staticmethod(fail))
        after = by_check(await harness.request("POST", path, key=operator))
        assert after["bounce_mx", "mx.invalid"] == before["bounce_mx", "mx.invalid"]


async def test_what_a_router_that_is_away_has_found_stays(harness: IngestHarness) -> None:
    harness.extra["health_check_interval_s"] = 0.2
    async with harness.running():
        operator = await harness.operator_key()

        async def status_of(*check: str) -> str:
            found = by_check(await harness.request("GET", "/v1/health/checks", key=operator))
            return str(found.get((check[0], check[1]), {}).get("status", ""))

        async def is_found() -> bool:
            return await status_of("ptr", OUT) == "failed"

        async def is_away() -> bool:
            return await status_of("service", "router") == "failed"

        async with router(harness, Policies()):  # type: ignore[abstract]
            await until(is_found)  # by the loop
        await until(is_away)
        assert await is_found()


async def test_a_canary_is_checked_at_the_probe(harness: IngestHarness) -> None:
    async def metrics_of_probe(_: web.Request) -> web.Response:
        return web.Response(body=metrics.render())

    app = web.Application()
    app.router.add_get("/metrics", metrics_of_probe)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    harness.extra["probe_metrics_url"] = f"http://127.0.0.1:{runner.addresses[0][1]}/metrics"
    metrics.probe_missed_in_a_row.labels("shared").set(0)
    metrics.probe_delivered_at.labels("shared").set(clock.now().timestamp())
    async with harness.running():
        operator = await harness.operator_key()

        async def run() -> dict[tuple[str, str], dict[str, Any]]:
            return by_check(await harness.request("POST", "/v1/health/checks", key=operator))

        assert (await run())["canary", "shared"]["status"] == "passed"
        metrics.probe_missed_in_a_row.labels("shared").set(6)
        metrics.probe_delivered_at.labels("shared").set(clock.now().timestamp() - 360)
        assert (await run())["canary", "shared"]["status"] == "failed"
        await runner.cleanup()
        found = await run()
        assert "does not respond" in found["canary", "all"]["detail"]
        assert ("canary", "shared") not in found
