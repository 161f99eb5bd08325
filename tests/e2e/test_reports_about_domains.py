"""Receivers report who sends as a domain, and other servers how they reach its own."""

import signal
import smtplib
import uuid
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from google.protobuf.json_format import MessageToDict

from contracts.ingest.v1 import domain_service_pb2 as pb
from contracts.ingest.v1.domain_service_pb2_grpc import DomainServiceStub
from tests.support.accounts import keys_of_callers
from tests.support.domain_reports import Row, dmarc, gzipped, mail, tls
from tests.support.returned_mail import hand_in
from tests.support.returning_engine import DOMAIN, World, returning_world
from tests.support.shell import Shell


@pytest.fixture(scope="module")
def world(
    bootstrap_servers: str, database_url: str, migrated_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[World]:  # fmt: skip
    with returning_world(
        tmp_path_factory.mktemp("returns"), bootstrap_servers=bootstrap_servers,
        database_url=database_url, template=migrated_template,
    ) as found:  # fmt: skip
        yield found


def rpc_response(world: World, name: str, domain_id: str) -> dict[str, Any]:
    """The figures by gRPC, in the shapes of REST."""
    key = (("authorization", world.api.headers["Authorization"]),)
    with grpc.insecure_channel(world.engine.environment["INGEST_GRPC_LISTEN"]) as channel:
        stub: Any = DomainServiceStub(channel)
        request = getattr(pb, f"{name}Request")(id=domain_id)
        response = getattr(stub, name)(request, metadata=key, timeout=60)
    given = MessageToDict(
        response, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )
    [(_, figures)] = given.items()
    for one in (*figures.get("sources", ()), *figures.get("results", ())):
        one |= {count: int(one[count]) for count in {"messages", "sessions"} & one.keys()}
    return dict(figures)


def test_a_dmarc_report_shows_who_sends_as_the_domain(world: World) -> None:
    """It goes to the address that the domain's records name."""
    [domain] = world.api.get("/domains").raise_for_status().json()["data"]
    path = f"/domains/{domain['id']}"
    records = {one["record"]: one for one in world.api.get(path).json()["records"]}
    rua, tls_rua = (records[one]["value"].partition("mailto:")[2] for one in ("DMARC", "TLS-RPT"))
    assert rua.startswith("rua+")
    assert rua.endswith(f"@{domain['return_path']}")
    ours = Row("192.0.2.1", 90, dkim_domain=DOMAIN, selector=domain["dkim_selectors"][0])
    theirs = Row("203.0.113.9", 10, "fail", "fail", "reject", dkim_domain="spam.example")
    report = mail(gzipped(dmarc(ours, theirs, domain=DOMAIN)))
    assert hand_in(world.port, report, rua, sender="d@receiver-lab.net") == (250, "2.0.0 Ok")
    found = world.api.get(f"{path}/dmarc").raise_for_status().json()
    assert (found["messages"], found["aligned"], found["reports"]) == (100, 90, 1)
    assert [(one["source_ip"], one["own"]) for one in found["sources"]] == [
        ("192.0.2.1", True),
        ("203.0.113.9", False),
    ]
    assert rpc_response(world, "GetDomainDmarc", domain["id"])["sources"] == found["sources"]
    key = keys_of_callers(world.engine.environment)["accounts"]
    shell = Shell({"OBM_API_URL": world.engine.url, "OBM_OPERATOR_KEY": key})
    shown = " ".join(shell.obm("domain", "dmarc", DOMAIN).replace("│", " ").split())
    assert "reports: 1, messages: 100, passed DMARC: 90" in shown
    assert "203.0.113.9 10 others" in shown
    report = mail(gzipped(tls(domain=DOMAIN, failures=[("certificate-expired", 2)])))
    assert hand_in(world.port, report, tls_rua)[0] == 250
    found = world.api.get(f"{path}/tls-reports").raise_for_status().json()
    assert (found["sessions"], found["successful"]) == (12, 10)
    assert [one["result"] for one in found["results"]] == ["success", "certificate-expired"]
    assert rpc_response(world, "GetDomainTlsReports", domain["id"])["results"] == found["results"]
    assert "certificate-expired" in shell.obm("domain", "tls-reports", DOMAIN)


def test_a_period_or_a_domain_that_is_none_is_refused(world: World) -> None:
    [domain] = world.api.get("/domains").raise_for_status().json()["data"]
    path = f"/domains/{domain['id']}"
    for query, pointer in (
        ("since=yesterday", "#/query/since"),
        ("since=2026-01-01&until=2026-03-01", "#/query/since"),
        ("since=2026-01-02&until=2026-01-01", "#/query/since"),
        ("until=0001-01-01", ""),
    ):
        response = world.api.get(f"{path}/dmarc?{query}")
        assert response.status_code == (422 if pointer else 200), query
        assert [one["pointer"] for one in response.json().get("errors", [])] == [pointer] * bool(
            pointer
        )
    missing = world.api.get(f"/domains/{uuid.uuid4()}/dmarc")
    assert missing.status_code == 404


def test_a_report_survives_the_end_of_the_process(world: World) -> None:
    """The process ends after it has counted the report and before its reply, so it comes again."""
    [domain] = world.api.get("/domains").raise_for_status().json()["data"]
    path = f"/domains/{domain['id']}"
    records = {one["record"]: one for one in world.api.get(path).json()["records"]}
    rua = records["DMARC"]["value"].partition("mailto:")[2]
    before = world.api.get(f"{path}/dmarc").json()["reports"]
    delivery = world.engine.processes["delivery"]
    delivery.terminate()
    delivery.start(OBM_FAILPOINTS="delivery.domain_report.added=kill")
    delivery.await_ready()
    report = mail(gzipped(dmarc(Row("192.0.2.3"), domain=DOMAIN, report_id="killed")))
    with pytest.raises((smtplib.SMTPException, OSError)):
        hand_in(world.port, report, rua)
    assert delivery.wait() == -signal.SIGKILL
    delivery.start()
    delivery.await_ready()
    assert hand_in(world.port, report, rua)[0] == 250
    assert world.api.get(f"{path}/dmarc").json()["reports"] == before + 1
