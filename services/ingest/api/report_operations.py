"""The operations on saved reports, for the OpenAPI document."""

from typing import Literal

from msgspec import Struct

from services.ingest.api.callers import SPANNING
from services.ingest.api.operation import Operation
from services.ingest.api.response_schemas import DeleteResponse, Id, Time, list_of


class ReportQueryResponse(Struct):
    """As in GET /v1/emails/metrics."""

    metrics: list[str]
    dimensions: list[str]
    granularity: str
    by: str
    include_machine: bool
    tenant_id: list[str]
    domain_id: list[str]
    email_id: list[str]
    key_id: list[str]
    stream: list[str]
    site: list[str]
    ip_id: list[str]
    pool_id: list[str]
    tag: list[str]
    bounce_class: list[str]
    recipient_domain: list[str]


class ReportResponse(Struct):
    """A saved report. tenant_id: null for all tenants of an account. next_at: when the next period
    is complete. last_at: end of the last period that was reported."""

    object: Literal["report"]
    id: Id
    tenant_id: Id | None
    name: str
    query: ReportQueryResponse
    frequency: Literal["daily", "weekly", "monthly"]
    timezone: str
    deliver: list[str]
    created_at: Time
    next_at: Time
    last_at: Time | None


EXAMPLE = {
    "name": "Every Monday",
    "frequency": "weekly",
    "timezone": "Europe/Berlin",
    "query": {"metrics": ["sent", "delivered", "bounce_rate"], "dimensions": ["domain"]},
}
OPERATIONS = {
    "post /v1/reports": Operation("createReport", ReportResponse, EXAMPLE, access=SPANNING),
    "get /v1/reports": Operation("listReports", list_of(ReportResponse), access=SPANNING),
    "get /v1/reports/{report_id}": Operation("getReport", ReportResponse, access=SPANNING),
    "delete /v1/reports/{report_id}": Operation("deleteReport", DeleteResponse, access=SPANNING),
}
