"""/v1/domains/{domain_id}/dmarc and /tls-reports: what receivers report about a domain."""

from typing import Annotated, TypeAlias

from fastapi import APIRouter, Query, Response
from fastapi import Request as Incoming
from pydantic import JsonValue

from services.ingest.api.administration.directory import parse_id
from services.ingest.api.domain_reports import (
    DMARC,
    TLS,
    DomainReportResource,
    dmarc_to_json,
    parse_period,
    tls_to_json,
)
from services.ingest.api.rest_base import PROBLEM_RESPONSES, RestAccess, json_response

DATE: dict[str, JsonValue] = {"format": "date"}
Since: TypeAlias = Annotated[
    str,
    Query(
        description="First day in UTC, `2026-01-25`; by default six days before `until`",
        json_schema_extra=DATE,
    ),
]
Until: TypeAlias = Annotated[
    str,
    Query(description="Last day in UTC, `2026-01-31`; by default today", json_schema_extra=DATE),
]


def routes(access: RestAccess, reports: DomainReportResource) -> APIRouter:
    router = APIRouter(
        prefix="/v1/domains/{domain_id}", tags=["domains"], responses=PROBLEM_RESPONSES
    )

    @router.get("/dmarc", summary="See who sends as a domain")
    async def get_dmarc(
        incoming: Incoming, domain_id: str, *, since: Since = "", until: Until = ""
    ) -> Response:
        """By the DMARC reports of receivers, which arrive if the domain's DMARC record names the
        address in `records`. Anybody can send such reports: they are not proof. At most 31 days."""
        principal = await access.authenticate(incoming)
        identifier, period = parse_id(domain_id, "the domain"), parse_period(since, until)
        found = await reports.get(principal, identifier, kind=DMARC, period=period)
        return json_response(dmarc_to_json(found))

    @router.get("/tls-reports", summary="See how other servers reach those of a domain")
    async def get_tls_reports(
        incoming: Incoming, domain_id: str, *, since: Since = "", until: Until = ""
    ) -> Response:
        """By their TLS reports, which arrive if `_smtp._tls` of the domain names the address in
        `records`. They are about the domain's own mail servers. At most 31 days."""
        principal = await access.authenticate(incoming)
        identifier, period = parse_id(domain_id, "the domain"), parse_period(since, until)
        found = await reports.get(principal, identifier, kind=TLS, period=period)
        return json_response(tls_to_json(found))

    return router
