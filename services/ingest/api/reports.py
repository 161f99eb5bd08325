"""Saved reports, for REST and gRPC. The events service publishes them."""

from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from contracts.events.v1 import events_service_pb2 as pb
from services.ingest.api.administration.directory import parse_id
from services.ingest.api.callers import Caller, check_live
from services.ingest.api.metrics import FILTERS
from services.ingest.api.metrics_schemas import By, Dimension, Granularity, Metric
from services.ingest.api.rest_base import format_timestamp
from services.ingest.clients import ServiceClients
from services.ingest.domain.email import RequestModel
from services.ingest.domain.patterns import LINE
from services.ingest.domain.problem import Fault, Problem
from services.ingest.store.directory_lists import PageBounds

WHAT = "the report"
Values = Annotated[list[Annotated[str, Meta(max_length=400, pattern=LINE)]], Meta(max_length=100)]
FULL = "There are 20 reports already. Delete one."


def none_given() -> Any:  # noqa: ANN401 - msgspec's field
    return msgspec.field(default_factory=list)


class ReportQuery(RequestModel):
    """As in GET /v1/emails/metrics. What is empty has its default; the filters match one of their
    values."""

    metrics: Annotated[list[Metric], Meta(max_length=100)] = none_given()
    dimensions: Annotated[list[Dimension], Meta(max_length=10)] = none_given()
    granularity: Granularity = "daily"
    by: By = "event"
    include_machine: bool = False
    tenant_id: Values = none_given()
    domain_id: Values = none_given()
    email_id: Values = none_given()
    key_id: Values = none_given()
    stream: Values = none_given()
    site: Values = none_given()
    ip_id: Values = none_given()
    pool_id: Values = none_given()
    tag: Values = none_given()
    bounce_class: Values = none_given()
    recipient_domain: Values = none_given()


class CreateReportRequest(RequestModel):
    """A query that is answered for each period. timezone: IANA name. deliver: `webhook` sends
    report.ready, `email` a mail to the address of the account."""

    name: Annotated[str, Meta(min_length=1, max_length=100, pattern=LINE)]
    frequency: Literal["daily", "weekly", "monthly"]
    query: ReportQuery = msgspec.field(default_factory=ReportQuery)
    timezone: Annotated[str, Meta(min_length=1, max_length=100, pattern=LINE)] = "UTC"
    deliver: Annotated[list[Literal["webhook", "email"]], Meta(min_length=1, max_length=2)] = (
        msgspec.field(default_factory=lambda: ["webhook"])
    )


class ReportResource:
    """Those of a tenant, or of a whole account. They are about live mail: a test key is refused
    with Problem 403."""

    def __init__(self, clients: ServiceClients) -> None:
        self._events = clients.events

    async def create(self, caller: Caller, given: CreateReportRequest) -> pb.Report:
        check_live(caller.key, "reports")
        account_id = caller.tenant.account_id if caller.tenant else caller.account_id
        request = pb.CreateReportRequest(
            tenant_id=caller.tenant_id, account_id=account_id, name=given.name,
            query=query_of(given.query), frequency=given.frequency, timezone=given.timezone,
            webhook="webhook" in given.deliver, email="email" in given.deliver,
        )  # fmt: skip
        response = await self._events.call(self._events.stub.CreateReport, request)
        if not response.HasField("report"):
            raise Problem(422, "too_many", detail=FULL, faults=[Fault("#", "too_many", FULL)])
        return response.report

    async def page(self, caller: Caller, page: PageBounds) -> tuple[Sequence[pb.Report], bool]:
        """Newest first; those of a tenant, or of an account and all its tenants."""
        check_live(caller.key, "reports")
        request = pb.ListReportsRequest(**caller.owner._asdict(), **page._asdict())
        response = await self._events.call(self._events.stub.ListReports, request)
        return response.reports, response.has_more

    async def get(self, caller: Caller, report_id: str) -> pb.Report:
        check_live(caller.key, "reports")
        request = pb.GetReportRequest(**caller.owner._asdict(), id=parse_id(report_id, WHAT))
        return (await self._events.call(self._events.stub.GetReport, request)).report

    async def delete(self, caller: Caller, report_id: str) -> str:
        """The id."""
        check_live(caller.key, "reports")
        request = pb.DeleteReportRequest(**caller.owner._asdict(), id=parse_id(report_id, WHAT))
        return (await self._events.call(self._events.stub.DeleteReport, request)).id


def query_of(given: ReportQuery) -> pb.GetMetricsRequest:
    return pb.GetMetricsRequest(
        metrics=given.metrics, dimensions=given.dimensions, granularity=given.granularity,
        by=given.by, include_machine=given.include_machine,
        filters=[
            pb.MetricsFilter(name=name, values=values)
            for name in FILTERS
            if (values := getattr(given, name))
        ],
    )  # fmt: skip


def to_json(report: pb.Report) -> dict[str, object]:
    query = report.query
    filters = {one.name: list(one.values) for one in query.filters}
    delivery = {"webhook": report.webhook, "email": report.email}
    return {
        "object": "report",
        "id": report.id,
        "tenant_id": report.tenant_id or None,
        "name": report.name,
        "query": {
            "metrics": list(query.metrics),
            "dimensions": list(query.dimensions),
            "granularity": query.granularity,
            "by": query.by,
            "include_machine": query.include_machine,
            **{name: filters.get(name, []) for name in FILTERS},
        },
        "frequency": report.frequency,
        "timezone": report.timezone,
        "deliver": [name for name, wanted in delivery.items() if wanted],
        "created_at": format_timestamp(report.created_at),
        "next_at": format_timestamp(report.next_at),
        "last_at": format_timestamp(report.last_at),
    }
