"""/v1/emails/metrics: the figures of mail."""

from typing import Annotated, Any, TypeAlias

from fastapi import APIRouter, Depends, Query, Response
from fastapi import Request as Incoming

from services.ingest.api.metrics import FILTERS, MetricsResource, metrics_to_csv, metrics_to_json
from services.ingest.api.metrics_schemas import By, Dimension, Granularity, Metric
from services.ingest.api.rest_base import PROBLEM_RESPONSES, RestAccess, json_response, request_of

CSV = "text/csv"
CSV_UTF8 = f"{CSV}; charset=utf-8"
SEVERAL = "Separated by commas, or repeated"
ISO: dict[str, Any] = {"format": "date"}


def one_of(kind: Any) -> dict[str, Any]:  # noqa: ANN401 - a Literal
    return {"items": {"type": "string", "enum": list(kind.__args__)}}


def empty() -> list[str]:
    """A default for lists. The signature of a default is read with each request, and that of
    `list`, which is not written in Python, takes longer than the rest."""
    return []


Date: TypeAlias = Annotated[
    str, Query(max_length=400, description="ISO 8601 date or time", json_schema_extra=ISO)
]
Timezone: TypeAlias = Annotated[
    str, Query(max_length=100, description="IANA name, such as `Europe/Berlin`; by default UTC")
]
Metrics: TypeAlias = Annotated[
    list[str],
    Query(
        alias="metrics", default_factory=empty, description=f"{SEVERAL}; by default all but times",
        json_schema_extra=one_of(Metric),
    ),
]  # fmt: skip
Dimensions: TypeAlias = Annotated[
    list[str],
    Query(default_factory=empty, description=SEVERAL, json_schema_extra=one_of(Dimension)),
]
Values: TypeAlias = Annotated[
    list[str],
    Query(default_factory=empty, description=f"{SEVERAL}; at most 100 values"),
]


def parse_filters(  # noqa: PLR0913 - the filters that there are
    *,
    tenant_id: Values,
    domain_id: Values,
    email_id: Values,
    key_id: Values,
    stream: Values,
    site: Values,
    ip_id: Values,
    tag: Values,
    bounce_class: Values,
    recipient_domain: Values,
    pool_id: Values,
) -> dict[str, list[str]]:
    """A dependency for the route."""
    given = (
        tenant_id, domain_id, email_id, key_id, stream, site, ip_id, tag, bounce_class,
        recipient_domain, pool_id,
    )  # fmt: skip
    return {name: split(values) for name, values in zip(FILTERS, given, strict=True)}


def routes(access: RestAccess, metrics: MetricsResource) -> APIRouter:
    router = APIRouter(prefix="/v1/emails", tags=["emails"], responses=PROBLEM_RESPONSES)

    @router.get("/metrics", summary="Get figures of emails")
    async def get_metrics(  # noqa: PLR0913 - the parameters that there are
        incoming: Incoming,
        *,
        start_date: Date = "",
        end_date: Date = "",
        timezone: Timezone = "",
        granularity: Granularity = "daily",
        metric_names: Metrics,
        dimensions: Dimensions,
        by: By = "event",
        include_machine: bool = False,
        filters: Annotated[dict[str, list[str]], Depends(parse_filters)],
    ) -> Response:
        """Counts, rates and times, in total and by `dimensions`. By default of the last seven days,
        and by the time of each event; with `by=sent`, by the time of the acceptance.
        `include_machine` adds opens and clicks that are certainly a machine's. Without
        `X-Tenant-Id`, those of all tenants of an account, and for an operator of all accounts. With
        `Accept: text/csv`, as CSV."""
        caller = await access.authenticate_caller(incoming)
        names = {"metrics": split(metric_names), "dimensions": split(dimensions)}
        period = {"start_date": start_date, "end_date": end_date, "timezone": timezone}
        counted = {"granularity": granularity, "by": by, "include_machine": include_machine}
        found = await metrics.get(caller, **names, **period, **counted, **filters)
        if CSV in request_of(incoming).header(b"accept"):
            return Response(metrics_to_csv(found), media_type=CSV_UTF8)
        return json_response(metrics_to_json(found))

    return router


def split(given: list[str]) -> list[str]:
    return [name.strip() for text in given for name in text.split(",") if name.strip()]
