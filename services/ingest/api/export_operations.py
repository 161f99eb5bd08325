"""The operations on exports, for the OpenAPI document."""

from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from services.ingest.api.callers import SPANNING
from services.ingest.api.operation import Operation
from services.ingest.api.response_schemas import DeleteResponse, Id, Time, list_of


class ExportFilterResponse(Struct):
    """What must match."""

    type: list[str] | UnsetType = UNSET
    to: str | UnsetType = UNSET
    domain: str | UnsetType = UNSET
    tag: str | UnsetType = UNSET
    site: str | UnsetType = UNSET
    bounce_class: str | UnsetType = UNSET
    message_id: str | UnsetType = UNSET
    status: str | UnsetType = UNSET
    since: Time | UnsetType = UNSET
    until: Time | UnsetType = UNSET


class ExportResponse(Struct):
    """An export. tenant_id: null for all tenants of an account. rows, bytes: of the file so far.
    truncated: there are more rows than a file may have. reached_at: everything from here on is in
    the file. failure: why it will never be complete."""

    object: Literal["export"]
    id: Id
    tenant_id: Id | None
    kind: Literal["events", "emails"]
    format: Literal["csv", "ndjson"]
    filter: ExportFilterResponse
    status: Literal["queued", "running", "completed", "failed"]
    rows: int
    bytes: int
    truncated: bool
    failure: str | None
    reached_at: Time | None
    created_at: Time
    completed_at: Time | None
    expires_at: Time | None


OPERATIONS = {
    "post /v1/exports": Operation(
        "createExport",
        ExportResponse,
        {"kind": "events", "format": "csv", "filter": {"type": ["email.bounced"]}},
        access=SPANNING,
    ),
    "get /v1/exports": Operation("listExports", list_of(ExportResponse), access=SPANNING),
    "get /v1/exports/{export_id}": Operation("getExport", ExportResponse, access=SPANNING),
    "delete /v1/exports/{export_id}": Operation("deleteExport", DeleteResponse, access=SPANNING),
    "get /v1/exports/{export_id}/download": Operation(
        "downloadExport", None, access=SPANNING, media_types=("text/csv", "application/x-ndjson")
    ),
}
