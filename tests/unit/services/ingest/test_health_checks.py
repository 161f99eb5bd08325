"""What health checks say of what they find."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from unittest.mock import Mock

import pytest

from contracts.kernel.v1.status_service_pb2 import GetStatusResponse
from contracts.router.v1.directory_pb2 import EgressSource, Pool
from contracts.router.v1.policies_pb2 import CheckOutcome, ListingChanged
from contracts.router.v1.policy_service_pb2 import Cell, Source
from kernel.addresses import AddressResolver
from kernel.dial import Dialer
from kernel.host_challenge import HostChallenges
from kernel.http_server import App, HttpServer, Receive, Refusal, Scope, Send
from kernel.status import key_id
from mail.bounce import class_by_name
from mail.domain_check import CheckStatus as RecordStatus
from mail.domain_check import RecordCheck
from mail.records import key_record
from services.events.domain.figures.periods import parse_period
from services.events.domain.figures.query import parse_query
from services.ingest.clients.host_prober import HostProber
from services.ingest.domain.health_checks import (
    CanaryStatus,
    HealthFinding,
    HealthStatus,
    HostTlsStatus,
    find_bounce_mx,
    find_canaries,
    find_cells,
    find_host,
    find_key,
    find_no_domain,
    find_pools,
    find_services,
    find_sources,
    find_tenants,
    find_unread,
    find_zone,
    overall,
)
from services.ingest.loops.infrastructure_bounces import query_since
from tests.support.authority import Certified
from tests.support.tls import certificate_files

OUT = "192.0.2.10"
KEYS = ["first key", "second key"]


def source(state: str = "active", pool: str = "p", **fields: object) -> Source:
    made = EgressSource(egress_id="e", pool_id=pool, source_ip=OUT, ehlo="out.example.com")
    return Source(source=made, state=state, **fields)  # type: ignore[arg-type]


def failures(findings: list[HealthFinding]) -> list[tuple[str, str, str]]:
    assert all(bool(one.advice) == (one.status == "failed") for one in findings)
    return [(one.check, one.subject, one.detail) for one in findings if one.status == "failed"]


def test_what_the_router_has_found_of_a_source_is_repeated_with_its_advice() -> None:
    problem = CheckOutcome(check="ptr", address=OUT, problem="ptr_missing", advice="Publish one.")
    listed = ListingChanged(blocklist="zen", address=OUT, listed=True)
    found = find_sources([source(problems=[problem], listings=[listed])])
    assert {one.check for one in found} == {"ptr", "forward", "spf", "dnsbl"}
    assert failures(found) == [
        ("ptr", OUT, "ptr_missing"),
        ("dnsbl", OUT, "listed by zen"),
    ]
    assert found[0].advice == "Publish one."
    assert failures(find_sources([source()])) == []
    assert find_sources([Source(source=EgressSource(egress_id="e"))]) == []


def test_a_source_with_an_egress_host_is_checked_for_it() -> None:
    made = source()
    made.source.egress_host = "out.example.com:1080"
    assert "egress_host" in {one.check for one in find_sources([made])}


def test_a_pool_needs_a_source_that_sends() -> None:
    pools = [Pool(pool_id="p", name="default"), Pool(pool_id="q", name="other")]
    sources = [source("suspended"), source("warming"), source("suspended", "q")]
    [(check, pool, detail)] = failures(find_pools(pools, sources))
    assert (check, pool) == ("pool_active", "other")
    assert detail == "0 of 1 sources are active or warming"


def test_a_tenant_without_a_pool_is_named() -> None:
    assert failures([find_tenants([])]) == []
    [(_, _, detail)] = failures([find_tenants(["shop", "blog"])])
    assert detail == "no pool: shop, blog"


def test_a_cell_has_an_owner() -> None:
    found = find_cells([Cell(cell="default", pools=3, owner="a"), Cell(cell="west", pools=2)])
    assert failures(found) == [("cell_owner", "west", "has no owner; 2 pools wait")]


def test_a_key_that_signs_is_published_and_ours() -> None:
    record = key_record("fbl.example.com", "s1", "v=DKIM1; p=AAAA")
    name = "s1._domainkey.fbl.example.com"
    assert find_key(RecordCheck(record, RecordStatus.UNKNOWN)).status is HealthStatus.UNKNOWN
    well = find_key(RecordCheck(record, RecordStatus.OK))
    wrong = find_key(RecordCheck(record, RecordStatus.WRONG, "the key is not ours"))
    assert failures([well, wrong]) == [("dkim", name, "the key is not ours")]
    assert wrong.advice == f"Publish a TXT record at {name}: v=DKIM1; p=AAAA"
    assert failures([find_no_domain("p")]) != []


def test_a_zone_of_the_installation_has_the_keys_of_its_domains() -> None:
    record = key_record("dkim.example.com", "s1", "v=DKIM1; p=AAAA")
    unknown = RecordCheck(record, RecordStatus.UNKNOWN)
    checks = [RecordCheck(record, RecordStatus.OK), unknown]
    [found] = find_zone("dkim.example.com", checks)
    assert found.status is HealthStatus.UNKNOWN
    [found] = find_zone("dkim.example.com", checks[:1])
    assert found.status is HealthStatus.PASSED
    [(_, zone, detail)] = failures(
        find_zone("dkim.example.com", [*checks, RecordCheck(record, RecordStatus.MISSING, "no")])
    )
    assert (zone, detail) == ("dkim.example.com", "1 of 2 keys are not published: no")


def test_services_have_the_keys_of_ingest_and_the_time_of_their_database() -> None:
    keys = [key_id("first"), key_id("second")]
    own = GetStatusResponse(key_ids=keys, clock_ahead_s=0.2, missing_partitions=["log_20261203"])
    others = {
        "router": GetStatusResponse(key_ids=keys, clock_ahead_s=-1.5),
        "events": GetStatusResponse(key_ids=keys[::-1], clock_ahead_s=0),
        "shield": GetStatusResponse(key_ids=keys, missing_settings=["SHIELD_X"]),
        "delivery": None,
    }
    found = find_services(own, others)
    assert failures(found) == [
        ("partitions", "ingest", "missing: log_20261203"),
        ("clock", "router", "-1.500 s ahead of PostgreSQL"),
        ("secret_keys", "events", f"2 keys, the first is {keys[1]}; not those of ingest"),
        ("settings", "shield", "not set: SHIELD_X"),
        ("service", "delivery", "does not respond"),
    ]
    assert "clock" not in {one.check for one in found if one.subject == "shield"}


def test_a_certificate_has_a_week_left() -> None:
    assert failures([find_host(HostTlsStatus("a.example", "", 8))]) == []
    assert failures([find_host(HostTlsStatus("a.example", "", 6))]) != []
    assert failures([find_host(HostTlsStatus("a.example", "connection refused"))]) != []


def test_bounces_need_an_address() -> None:
    for addresses in ([], ["192.0.2.1"]):
        found = find_bounce_mx("mx.example", addresses)
        assert (found.status == "failed") == (not addresses)


def test_mail_that_is_refused_because_of_us_is_named_until_it_is_read() -> None:
    assert failures(find_unread({}, days=7)) == []
    detail = "3 refused in the last 7 days, and not read yet"
    found = find_unread({"spam_block": 3, "authentication_failed": 0}, days=7)
    assert failures(found) == [("infrastructure_bounces", "spam_block", detail)]


def test_events_counts_what_the_check_queries() -> None:
    """The query of the check is one that events answers, of classes that exist."""
    request = query_since("2026-05-01")
    period = parse_period(
        request.start_date, "", timezone="", granularity="", now=datetime(2026, 5, 8, tzinfo=UTC)
    )
    filters = {one.name: list(one.values) for one in request.filters}
    query = parse_query(
        period, metrics=request.metrics, dimensions=request.dimensions, filters=filters,
        by=request.by, include_machine=False,
    )  # fmt: skip
    assert not query.of_emails
    for name in filters["bounce_class"]:
        assert class_by_name(name).suppress_after == 0


def test_what_dns_does_not_answer_is_neither_well_nor_a_failure() -> None:
    assert find_bounce_mx("mx.example", None).status is HealthStatus.UNKNOWN
    assert find_host(HostTlsStatus("a.example", None)).status is HealthStatus.UNKNOWN


async def test_a_host_whose_addresses_are_not_known_now_is_no_problem(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    failure = [socket.EAI_AGAIN]

    async def fail(*_: object, **__: object) -> list[object]:
        raise socket.gaierror(failure[0], "no answer")

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", fail)
    probe = HostProber(HostChallenges(KEYS))
    assert (await probe.look("a.example")).problem is None
    failure[0] = socket.EAI_NONAME
    assert (await probe.look("a.example")).problem == "has no address"


def test_a_canary_was_delivered_in_the_last_five_minutes() -> None:
    canaries = [
        CanaryStatus("well", 0, 700.0),
        CanaryStatus("missed", 5, 600.0),
        CanaryStatus("stopped", 0, 600.0),
        CanaryStatus("never", 2, 0.0),
        CanaryStatus("new", 0, 0.0),
    ]
    found = find_canaries(canaries, now_s=1000.0)
    assert {one.subject for one in found if one.status == "passed"} == {"well"}
    assert failures(found) == [
        ("canary", "missed", "5 missed in a row, the last delivered 400 s ago"),
        ("canary", "stopped", "0 missed in a row, the last delivered 400 s ago"),
        ("canary", "never", "2 missed in a row, the last delivered before the probe started"),
    ]


@asynccontextmanager
async def https(folder: Path, name: str, app: App) -> AsyncIterator[tuple[ssl.SSLContext, int]]:
    """A server with a certificate for this name, until the block ends: TLS of its clients, port."""
    root = Certified.root("root")
    files = certificate_files(folder, name, issuer=root)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(files.certificate, files.key)
    client = ssl.create_default_context()
    client.load_verify_locations(cadata=root.der)
    server = HttpServer(
        app, "localhost:0", refusal=lambda _: Refusal(), connections_max=10, tls=tls
    )
    task = asyncio.create_task(server.run())
    try:
        yield client, server.port
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def nothing_here(_: Scope, __: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@pytest.mark.parametrize(
    ("name", "keys", "problem"),
    [
        ("localhost", KEYS, ""),
        ("localhost", KEYS[::-1], ""),  # during a rotation of keys
        ("localhost", ["other key"], "leads to another server"),
        ("localhost", [], "leads to another server"),
        ("other.example", KEYS, "not valid"),
    ],
)
async def test_a_host_leads_to_us_with_a_valid_certificate(
    tmp_path: Path, name: str, keys: list[str], problem: str
) -> None:
    app = HostChallenges(keys).answered_before(nothing_here) if keys else nothing_here
    async with https(tmp_path, name, app) as (client, port):
        found = await HostProber(HostChallenges(KEYS), lambda: client, port=port).look("localhost")
    assert found.problem is not None
    assert problem in found.problem
    assert bool(found.problem) == bool(problem)
    assert (found.days_left > 0) == ("not valid" not in problem)


def test_authorities_are_read_for_the_first_host_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes longer than anything else at the start of a service."""
    made = Mock(wraps=ssl.create_default_context)
    monkeypatch.setattr(ssl, "create_default_context", made)
    probe, dialer = HostProber(HostChallenges(KEYS)), Dialer(AddressResolver(lambda *_: True))
    assert not made.called
    assert probe._tls.verify_mode is dialer._tls.verify_mode is ssl.CERT_REQUIRED
    assert made.call_count == 2


async def test_a_host_that_nobody_serves_is_a_problem() -> None:
    found = await HostProber(HostChallenges(KEYS), port=1).look("127.0.0.1")
    assert found.problem
    assert await HostProber.addresses_of("localhost")


def test_a_report_is_unknown_until_something_was_checked() -> None:
    assert overall([]) is HealthStatus.UNKNOWN
    assert overall([HealthStatus.PASSED]) is HealthStatus.PASSED
    assert overall([HealthStatus.PASSED, HealthStatus.FAILED]) is HealthStatus.FAILED
