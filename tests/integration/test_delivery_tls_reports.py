"""TLS reports: sessions of a day are counted, and sent to the addresses that a domain names."""

import asyncio
import gzip
import json
from base64 import b64decode
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest

from kernel import clock
from kernel.addresses import AddressResolver
from kernel.database import Database
from kernel.dial import Dialer
from kernel.lease import Lease
from kernel.resolver import system_resolver
from mail import parser
from mail.mta_sts import MtaStsMode, MtaStsPolicy
from mail.tls_rpt import AppliedPolicy, FailedSession, PolicyKind, ReportingOrganization, ResultType
from services.delivery import app
from services.delivery.clients.email_api import EmailApi
from services.delivery.clients.report_sender import TlsReportSender
from services.delivery.domain.tls_policy import TlsPolicy
from services.delivery.loops import tls_reports
from services.delivery.loops.tls_reports import (
    FIRST,
    PAGE_OCTETS,
    DailyTlsReporter,
    TlsSessionCounter,
)
from services.delivery.store import mta_sts
from services.delivery.store import tls_reports as tls_results
from services.delivery.store.tls_reports import DueTlsReport, TlsReportStore, TlsSessionKey
from tests.support.delivery import Harness
from tests.support.name_server import SERVFAIL, name_server
from tests.support.policy_server import policy_text, response
from tests.support.polling import until
from tests.support.protected_domains import ROOT, Records, World, certificate_of, world_of
from tests.support.receiver import Receiver, receiving, respond_with
from tests.support.smtp_peer import SmtpPeer
from tests.support.stack import harness_fixture

FROM = "tls-reports@sender.example"
YESTERDAY = "UPDATE delivery.tls_results SET day = day - 1"
AGE_POLICIES = "UPDATE delivery.mta_sts_policies SET expires_at = expires_at -"
COUNTS = "SELECT domain, failure, sessions FROM delivery.tls_results ORDER BY domain, failure"
GOOD, BAD, LOST, CLEAR = "good.example", "bad.example", "lost.example", "clear.example"

harness = harness_fixture(Harness, scope="module")


async def query(harness: Harness, text: str) -> list[tuple[Any, ...]]:
    database = Database(harness.database.system("delivery"), name="test")
    try:
        return list(await database.execute_autocommit(text))
    finally:
        await database.close()


async def wait_for_counts(harness: Harness, count: int) -> list[tuple[Any, ...]]:
    async with asyncio.timeout(240):
        while len(found := await query(harness, COUNTS)) < count:
            await asyncio.sleep(0.05)
    return found


def record(*uris: str) -> dict[str, list[str] | str]:
    return {"TXT": [f'"v=TLSRPTv1; rua={",".join(uris)}"']}


def reports_of(received: Sequence[bytes]) -> list[Any]:
    return [json.loads(gzip.decompress(one)) for one in received]


def test_the_sessions_of_a_day_are_reported_by_https_and_by_mail(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "COUNTS_INTERVAL_S", 0.1)
    monkeypatch.setattr(app, "REPORTS_INTERVAL_S", 0.1)
    tls = ROOT.server("reports.bad.example").context()

    async def scenario() -> None:
        async with receiving(tls) as strangers, receiving() as api:
            world = domains_that_want_reports(harness, strangers, api, monkeypatch=monkeypatch)
            async with world as running:
                await send_to_each_domain(running)
                counts = await wait_for_counts(harness, 3)
                assert [(domain, sessions) for domain, _, sessions in counts] == [
                    (BAD, 1), (GOOD, 1), (LOST, 1)  # nothing for a domain without a policy
                ]  # fmt: skip
                await query(harness, YESTERDAY)
                await until(lambda: strangers.received and api.received)
                while await query(harness, COUNTS):
                    await asyncio.sleep(0.05)
            check_https(strangers)
            check_mail(api)

    asyncio.run(scenario())


def domains_that_want_reports(
    harness: Harness, strangers: Receiver, api: Receiver, *, monkeypatch: pytest.MonkeyPatch
) -> AbstractAsyncContextManager[World]:
    port = urlsplit(strangers.url).port
    return world_of(
        harness,
        [GOOD, BAD, LOST, CLEAR],
        responses={
            GOOD: response(policy_text(f"mx.{GOOD}")),
            BAD: response(policy_text(f"mx.{BAD}", mode="testing")),
            LOST: response(b"", status="404 Not Found"),
        },
        monkeypatch=monkeypatch,
        more={
            f"_smtp._tls.{GOOD}": record("mailto:tls@good.example"),
            f"_smtp._tls.{BAD}": record(f"https://reports.bad.example:{port}/v1"),
            "reports.bad.example": {"A": ["127.0.0.1"]},
        },
        tls_report_from=FROM,
        api_url=f"{api.url}/v1",
        api_key="key",
    )


async def send_to_each_domain(world: World) -> None:
    for domain in (GOOD, BAD, LOST, CLEAR):
        kind = "expired" if domain == BAD else "good"
        context = certificate_of(kind, f"mx.{domain}").context()
        async with SmtpPeer(tls=None if domain == CLEAR else context) as peer:
            assert (await world.send(domain, peer)).reply.code == 250


def check_https(strangers: Receiver) -> None:
    [request] = strangers.received
    assert request.headers["content-type"] == "application/tlsrpt+gzip"
    [report] = reports_of([request.body])
    assert report["contact-info"] == FROM
    [policy] = report["policies"]
    assert policy["policy"]["policy-type"] == "sts"
    assert "mode: testing" in policy["policy"]["policy-string"]
    assert policy["summary"] == {
        "total-successful-session-count": 0,
        "total-failure-session-count": 1,
    }
    [failure] = policy["failure-details"]
    assert failure["result-type"] == "certificate-expired"
    assert failure["receiving-mx-hostname"] == f"mx.{BAD}"
    assert failure["sending-mta-ip"] == failure["receiving-ip"] == "127.0.0.1"


def check_mail(api: Receiver) -> None:
    [request] = api.at("/v1/emails")
    assert request.headers["authorization"] == "Bearer key"
    assert request.json["to"] == f"tls@{GOOD}"
    message = parser.parse_entity(b64decode(request.json["raw"]))
    kind, parameters = message.content_type
    assert (kind, parameters["report-type"]) == ("multipart/report", "tlsrpt")
    _, file = parser.parts(message)
    assert file.content_type[0] == "application/tlsrpt+gzip"
    [report] = reports_of([parser.decode_body(file.body, file.get("content-transfer-encoding"))])
    assert report["policies"][0]["summary"]["total-successful-session-count"] == 1


def result(domain: str) -> TlsSessionKey:
    policy = AppliedPolicy(PolicyKind.STS, domain, ("version: STSv1",), (f"mx.{domain}",))
    kind = ResultType.CERTIFICATE_EXPIRED
    failure = FailedSession(kind, "192.0.2.1", f"mx.{domain}", "192.0.2.2")
    return TlsSessionKey(clock.now().date(), policy, failure)


@asynccontextmanager
async def reporter_with(
    harness: Harness, records: Records
) -> AsyncIterator[tuple[DailyTlsReporter, Receiver, TlsReportStore]]:
    """A reporter that holds the lease, with the API that it uses, and its counts."""
    database = Database(harness.database.system("delivery"), name="test")
    store = TlsReportStore(database)
    async with name_server(records) as (_, address), receiving() as api:
        dialers = [Dialer(AddressResolver(lambda *_: True)) for _ in range(2)]
        sender = TlsReportSender(
            system_resolver([address], timeout_s=5.0),
            dialers[0],
            api=EmailApi(dialers[1], f"{api.url}/v1", "key"),
        )
        lease = Lease(database, "delivery", "tls reports")
        await lease.try_acquire()
        reporter = DailyTlsReporter(
            store, lease, sender, reporter=ReportingOrganization("Engine", FROM)
        )
        try:
            yield reporter, api, store
        finally:
            await reporter.close()
            await database.close()


def die(_: str) -> None:
    raise Died


class Died(BaseException):
    """In place of the end of the process."""


def test_a_report_that_was_sent_before_a_crash_is_sent_again_as_the_same(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def scenario() -> None:
        records: Records = {"_smtp._tls.a.example": record("mailto:t@a.example")}
        async with reporter_with(harness, records) as (reporter, api, store):
            await store.add({result("a.example"): 3})
            await query(harness, YESTERDAY)
            with monkeypatch.context() as patch:
                patch.setattr(tls_reports, "failpoint", die)
                with pytest.raises(Died):
                    await reporter.run_once()
            later = clock.now() + timedelta(hours=1)
            monkeypatch.setattr(clock, "now", lambda: later)
            await reporter.run_once()
            await reporter.run_once()
            assert len({one.body for one in api.received}) == 1  # or the API refuses the key
            keys = [one.headers["idempotency-key"] for one in api.received]
            assert len(keys) == 2
            assert len(set(keys)) == 1
            assert await query(harness, COUNTS) == []

    asyncio.run(scenario())


async def test_a_day_is_reported_once_all_processes_have_added_to_it(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = Database(harness.database.system("delivery"), name="test")
    store = TlsReportStore(database)
    ended = datetime(2026, 11, 23, tzinfo=UTC)
    day = (ended - timedelta(days=1)).date()
    await store.add({result("ended.example")._replace(day=day): 1})
    due = [DueTlsReport(day, "ended.example")]
    for minutes, found in ((-1, []), (0, []), (9, []), (10, due)):
        now = ended + timedelta(minutes=minutes)
        monkeypatch.setattr(clock, "now", lambda now=now: now)
        assert await store.due(tls_reports.FIRST) == found
    await query(harness, "DELETE FROM delivery.tls_results")
    await database.close()


def test_a_report_that_cannot_be_sent_delays_no_other_and_is_sent_later(
    harness: Harness,
) -> None:
    async def scenario() -> None:
        records: Records = {
            "_smtp._tls.a.example": SERVFAIL,
            "_smtp._tls.b.example": record("mailto:t@b.example"),
            "_smtp._tls.c.example": record("mailto:t@c.example", "ftp://c.example"),
        }
        async with reporter_with(harness, records) as (reporter, api, store):
            api.behaviors["/v1/emails"] = respond_with(503, 202)
            await store.add({result(f"{name}.example"): 1 for name in "abcd"})
            await query(harness, YESTERDAY)
            await reporter.run_once()
            left = [domain for domain, _, _ in await query(harness, COUNTS)]
            assert left == ["a.example", "b.example"]  # d.example wants no report
            records["_smtp._tls.a.example"] = record("mailto:t@a.example")
            await reporter.run_once()
            assert [one.json["to"] for one in api.received] == [
                "t@b.example", "t@c.example", "t@a.example", "t@b.example"
            ]  # fmt: skip
            assert await query(harness, COUNTS) == []

    asyncio.run(scenario())


async def test_counts_of_several_processes_are_added_up(harness: Harness) -> None:
    database = Database(harness.database.system("delivery"), name="test")
    store = TlsReportStore(database)
    key = result("sum.example")
    await asyncio.gather(*(store.add({key: 2, key._replace(failure=None): 1}) for _ in range(5)))
    assert sorted(sessions for _, _, sessions in await query(harness, COUNTS)) == [5, 10]
    await query(harness, "DELETE FROM delivery.tls_results")
    await database.close()


async def test_large_policies_are_stored_and_read_in_bounded_statements(harness: Harness) -> None:
    database = Database(harness.database.system("delivery"), name="test")
    store = RecordingStore(database)
    counter = TlsSessionCounter(store)
    for number in range(100):
        hosts = tuple(f"{n}.{'x' * 60}.example" for n in range(900))
        sts = MtaStsPolicy(MtaStsMode.ENFORCE, hosts, number)
        counter.count_fetch(
            TlsPolicy(domain="large.example", mta_sts=sts), ResultType.STS_POLICY_INVALID, ""
        )
    await counter.flush()
    policies = [key.policy for page in store.pages for key in page]
    assert len(policies) == len(set(policies)) == 100
    assert max(sum(key.policy.octets for key in page) for page in store.pages) <= PAGE_OCTETS
    await query(harness, YESTERDAY)
    [due] = await store.due(FIRST)
    read = await store.results(due)
    assert 10 < len(read) < 100
    assert sum(one.policy.octets for one in read) <= tls_results.OCTETS_MAX
    await query(harness, "DELETE FROM delivery.tls_results")
    await database.close()


class RecordingStore(TlsReportStore):
    def __init__(self, database: Database) -> None:
        super().__init__(database)
        self.pages: list[Mapping[TlsSessionKey, int]] = []

    async def add(self, counts: Mapping[TlsSessionKey, int]) -> None:
        self.pages.append(counts)
        await super().add(counts)


def test_counts_that_cannot_be_read_affect_their_report_alone(harness: Harness) -> None:
    async def scenario() -> None:
        records: Records = {
            f"_smtp._tls.{n}.example": record(f"mailto:t@{n}.example") for n in "ab"
        }
        async with reporter_with(harness, records) as (reporter, api, store):
            await store.add({result(f"{name}.example"): 1 for name in "ab"})
            await query(harness, YESTERDAY)
            await query(harness, "UPDATE delivery.tls_results SET policy = '?' WHERE domain ~ '^a'")
            await reporter.run_once()
            assert [one.json["to"] for one in api.received] == ["t@b.example"]
            assert [domain for domain, _, _ in await query(harness, COUNTS)] == ["a.example"]
            await query(harness, "DELETE FROM delivery.tls_results")

    asyncio.run(scenario())


async def test_counts_that_nobody_reports_and_old_policies_are_deleted(harness: Harness) -> None:
    database = Database(harness.database.system("delivery"), name="test")
    await TlsReportStore(database).add({result("old.example"): 1})
    policies = mta_sts.MtaStsPolicyStore(database)
    policy = MtaStsPolicy(MtaStsMode.ENFORCE, ("mx.old.example",), 60)
    await policies.save("old.example", "1", policy)
    for days, left in ((tls_results.RETENTION_DAYS, 1), (1, 0)):
        await query(harness, f"UPDATE delivery.tls_results SET day = day - {days}")
        async with database.transaction() as tx:
            await tls_results.expire(tx)
        assert len(await query(harness, COUNTS)) == left
    for seconds, deleted in ((0, 0), (61, 1)):
        await query(harness, f"{AGE_POLICIES} interval '{seconds}s'")
        async with database.transaction() as tx:
            assert await mta_sts.expire(tx) == deleted
    assert await policies.load(["old.example"]) == [None]
    await database.close()
