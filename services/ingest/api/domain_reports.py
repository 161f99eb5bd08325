"""What the reports of receivers say about a domain: DMARC (RFC 9990) and TLS (RFC 8460)."""

from datetime import date, timedelta
from typing import NamedTuple

from google.protobuf.json_format import MessageToDict

from contracts.delivery.v1.delivery_service_pb2 import (
    DmarcSourceCount,
    GetDomainReportsRequest,
    GetDomainReportsResponse,
    ReportDay,
    TlsResultCount,
)
from kernel import clock
from services.ingest.api.access import Principal
from services.ingest.api.domains import DomainResource
from services.ingest.clients import ServiceClients
from services.ingest.domain.problem import Fault, invalid

DMARC, TLS = "dmarc", "tls"
DAYS_DEFAULT, DAYS_MAX = 7, 31
SUCCESS = "success"


class ReportPeriod(NamedTuple):
    """Both days are part of it, in UTC."""

    since: date
    until: date


class DomainReportFigures(NamedTuple):
    """What is known about a domain in a period."""

    domain_id: str
    period: ReportPeriod
    figures: GetDomainReportsResponse


class DomainReportResource:
    def __init__(self, clients: ServiceClients, domains: DomainResource) -> None:
        self._delivery = clients.delivery
        self._domains = domains

    async def get(
        self, principal: Principal, domain_id: str, *, kind: str, period: ReportPeriod
    ) -> DomainReportFigures:
        """Raises Problem 404."""
        domain = await self._domains.find(principal, domain_id)
        request = GetDomainReportsRequest(
            tenant_id=domain.tenant_id,
            domain_id=domain_id,
            kind=kind,
            since=str(period.since),
            until=str(period.until),
        )
        method = self._delivery.stub.GetDomainReports
        return DomainReportFigures(domain_id, period, await self._delivery.call(method, request))


def parse_period(since: str, until: str) -> ReportPeriod:
    """Empty texts: the last seven days. Raises Problem."""
    last = _parse_day(until, "until") if until else clock.now().date()
    first = _parse_day(since, "since") if since else _days_before(last, DAYS_DEFAULT - 1)
    if not timedelta(0) <= last - first < timedelta(days=DAYS_MAX):
        detail = f"The period must have 1 to {DAYS_MAX} days: since is {first}, until is {last}."
        raise invalid([Fault("#/query/since", "invalid", detail)])
    return ReportPeriod(first, last)


def _days_before(last: date, days: int) -> date:
    return last - min(timedelta(days=days), last - date.min)


def _parse_day(text: str, name: str) -> date:
    try:
        return date.fromisoformat(text)
    except ValueError:
        detail = f"{name} is no date. It looks like 2026-01-31."
        raise invalid([Fault(f"#/query/{name}", "invalid_time", detail)]) from None


def dmarc_to_json(found: DomainReportFigures) -> dict[str, object]:
    return {
        "object": "domain_dmarc",
        **_totals(found, passed="aligned", all_of="messages"),
        "sources": [_source(one) for one in found.figures.sources],
    }


def tls_to_json(found: DomainReportFigures) -> dict[str, object]:
    return {
        "object": "domain_tls_reports",
        **_totals(found, passed="successful", all_of="sessions"),
        "results": [_result(one) for one in found.figures.results],
    }


def _totals(found: DomainReportFigures, *, passed: str, all_of: str) -> dict[str, object]:
    days = found.figures.days

    def counts(*some: ReportDay) -> dict[str, object]:
        succeeded = sum(one.passed for one in some)
        return {
            "reports": sum(one.reports for one in some),
            all_of: succeeded + sum(one.failed for one in some),
            passed: succeeded,
        }

    return {
        "domain_id": found.domain_id,
        "since": str(found.period.since),
        "until": str(found.period.until),
        **counts(*days),
        "days": [{"day": one.day, **counts(one)} for one in days],
    }


def _source(one: DmarcSourceCount) -> dict[str, object]:
    return {**_fields(one), "messages": one.messages}


def _result(one: TlsResultCount) -> dict[str, object]:
    return {**_fields(one), "result": one.result or SUCCESS, "sessions": one.sessions}


def _fields(one: DmarcSourceCount | TlsResultCount) -> dict[str, object]:
    """The counts are texts there, because they are 64 bits long."""
    return dict(
        MessageToDict(
            one, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
        )
    )
