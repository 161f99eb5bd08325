"""Reports about a domain become its figures: once, by day, in bounded space."""

import asyncio
import uuid
from datetime import UTC, date, datetime, timedelta
from uuid import UUID

import pytest

from contracts.delivery.v1.delivery_service_pb2 import (
    GetDomainReportsRequest,
    GetDomainReportsResponse,
)
from contracts.delivery.v1.delivery_service_pb2_grpc import DeliveryServiceStub
from kernel.crypto import derived_key
from kernel.database import Database
from kernel.embedded.folder import free_port
from kernel.rpc import RpcClient
from mail import verp
from services.delivery.api.return_path.domain_reports import NO_REPORT, OTHER_DOMAIN
from services.delivery.domain.domain_reports import DmarcFigureKey, DomainReportSummary
from services.delivery.store import domain_reports as store
from services.delivery.store.domain_reports import DayRange, TenantDomain
from tests.support.delivery import Harness
from tests.support.domain_reports import Row, dmarc, gzipped, mail, tls, zipped
from tests.support.return_path import HOST, counted, world_of
from tests.support.stack import harness_fixture

harness = harness_fixture(Harness, scope="module")
TODAY = datetime.now(UTC).date()


def address(harness: Harness, prefix: str = "rua", domain_id: str = "", key: str = "") -> str:
    secret = derived_key(key or harness.secret_key, "domain reports")
    identifier = UUID(domain_id or harness.domain_id)
    return verp.return_path(identifier, HOST, key=secret, prefix=prefix).address


async def figures(
    harness: Harness, port: int, kind: str, *, tenant_id: str = ""
) -> GetDomainReportsResponse:
    request = GetDomainReportsRequest(
        tenant_id=tenant_id or harness.tenant_id, domain_id=harness.domain_id, kind=kind,
        since=str(TODAY - timedelta(days=7)), until=str(TODAY + timedelta(days=1)),
    )  # fmt: skip
    peer = RpcClient("delivery", f"127.0.0.1:{port}", "token")
    try:
        method = DeliveryServiceStub(peer.channel).GetDomainReports
        return await peer.call(method, request, deadline_s=60.0)
    finally:
        await peer.close()


async def test_reports_become_figures_once(harness: Harness) -> None:
    port = free_port()
    async with world_of(harness, rpc_listen=f"127.0.0.1:{port}") as world:
        ours = Row("192.0.2.1", 70, spf="fail")
        theirs = Row("203.0.113.9", 5, "fail", "fail", "reject", dkim_domain="spam.example")
        also = Row("198.51.100.4", 20, dkim_domain="sender.example", selector="newsletter")
        report = mail(gzipped(dmarc(ours, theirs, also, ours)))
        before, read = counted("dmarc_repeated"), counted("other")
        for _ in range(2):
            reply = await world.hand_in(report, address(harness), sender="dmarc@receiver.example")
            assert reply[0] == 250
        assert counted("dmarc_repeated") == before + 1
        assert counted("other") == read, "it is not also read as a bounce"
        second = mail(zipped(dmarc(theirs, report_id="2")))
        assert (await world.hand_in(second, address(harness).upper()))[0] == 250
        found = await figures(harness, port, "dmarc")
        [day] = found.days
        assert (day.day, day.reports, day.passed, day.failed) == (str(TODAY), 2, 160, 10)
        assert [(one.source_ip, one.messages, one.own) for one in found.sources] == [
            ("192.0.2.1", 140, True), ("198.51.100.4", 20, False), ("203.0.113.9", 10, False),
        ]  # fmt: skip
        assert found.sources[2].disposition == "reject"
        assert found.sources[2].dkim_domain == "spam.example"
        other = await figures(harness, port, "dmarc", tenant_id=str(uuid.uuid4()))
        assert not other.days
        assert not other.sources

        sessions = mail(gzipped(tls(failures=[("certificate-expired", 3)])))
        assert (await world.hand_in(sessions, address(harness, "tls")))[0] == 250
        found = await figures(harness, port, "tls")
        assert (found.days[0].passed, found.days[0].failed) == (10, 3)
        assert [(one.result, one.sessions) for one in found.results] == [
            ("", 10), ("certificate-expired", 3),
        ]  # fmt: skip


async def test_what_is_no_report_about_the_domain_is_refused(harness: Harness) -> None:
    async with world_of(harness) as world:
        ours = address(harness)
        person = b"From: a@b.example\r\nSubject: Hello\r\n\r\nDoes anybody read this?\r\n"
        bomb = mail(gzipped(b"<feedback>" + bytes(200 << 20)))
        for content, reply in (
            (person, NO_REPORT),
            (bomb, NO_REPORT),
            (mail(gzipped(dmarc(Row(), domain="else.example"))), OTHER_DOMAIN),
        ):
            assert await world.hand_in(content, ours) == (550, reply[4:])
        before = counted("expired_report")
        late = mail(gzipped(dmarc(Row(), begin=datetime.now(UTC) - timedelta(days=40))))
        assert (await world.hand_in(late, ours))[0] == 250
        assert counted("expired_report") == before + 1
        above = mail(gzipped(dmarc(Row(), domain="news.sender.example", report_id="sub")))
        assert (await world.hand_in(above, ours))[0] == 250
        for forged in (
            address(harness, key="another key of sixteen octets"),
            ours.replace("rua+", "dmarc+"),
            ours.replace("rua+", "bounce+"),
            f"rua@{HOST}",
        ):
            assert (await world.hand_in(person, forged))[0] == 550
        # its record may not have arrived yet
        new = address(harness, domain_id=str(uuid.uuid4()))
        assert (await world.hand_in(above, new))[0] == 451


async def test_without_the_database_a_report_is_sent_again(harness: Harness) -> None:
    async with world_of(harness) as world:
        report = mail(gzipped(dmarc(Row(), report_id="away")))
        with harness.database.connect() as owner, owner.transaction():
            owner.execute("LOCK TABLE delivery.report_days")
            assert (await world.hand_in(report, address(harness)))[0] == 451
        assert (await world.hand_in(report, address(harness)))[0] == 250


def source(number: int) -> DmarcFigureKey:
    return DmarcFigureKey(f"192.0.2.{number}", "a.example", "none", True, True, "", "", "")


async def test_figures_are_bounded_and_expire(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(store, "ROWS_MAX", 3)
    monkeypatch.setattr(store, "REPORTS_MAX", 4)
    database = Database(harness.database.system("delivery"), name="test")
    owner = TenantDomain(harness.tenant_id, str(uuid.uuid4()))

    async def add(report_id: str, *numbers: int) -> str:
        rows = [(source(one), 1) for one in numbers]
        report = DomainReportSummary(
            "dmarc", domain="a.example", organization="r", report_id=report_id, day=TODAY,
            passed=len(rows),
        )  # fmt: skip
        async with database.transaction() as tx:
            return await store.add(tx, owner, report, rows=rows)

    try:
        results = await asyncio.gather(*(add("1", 1, 2) for _ in range(5)))
        assert sorted(results) == ["counted", *["repeated"] * 4]
        assert [await add(str(n), 1, 1 + n, 2 + n) for n in (2, 3, 4, 5)] == [
            "counted", "counted", "counted", "too_many",
        ]  # fmt: skip
        async with database.transaction() as tx:
            period = DayRange(TODAY, TODAY)
            [day] = await store.days(tx, owner.domain_id, kind="dmarc", period=period)
            rows = await store.rows(tx, owner.domain_id, kind="dmarc", period=period)
        assert (day.reports, day.passed) == (4, 11)  # the day counts all messages
        assert [count for _, count in rows] == [4, 1, 1]
        async with database.transaction() as tx:
            assert await store.expire(tx, TODAY + timedelta(days=store.RETENTION_DAYS)) == 0
            assert await store.expire(tx, date.max) > 3
            assert await store.days(tx, owner.domain_id, kind="dmarc", period=period) == []
    finally:
        await database.close()
