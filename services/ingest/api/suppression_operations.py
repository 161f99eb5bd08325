"""The operations on suppressions and on files of them, for the OpenAPI document, with the responses
of the latter."""

from typing import Literal

from msgspec import Struct

from services.ingest.api.callers import NAMING_TENANT, SPANNING_UNLESS_OPERATOR
from services.ingest.api.operation import Operation
from services.ingest.api.response_schemas import DeleteResponse, Id, Time, list_of
from services.ingest.api.suppression_schemas import (
    AddSuppressionsResponse,
    RemoveSuppressionsResponse,
    SuppressionResponse,
)


class SuppressionImportResponse(Struct):
    """An import of suppressions. lines: addresses in the file. added, existing, failed: of those so
    far. ignored_columns: names of the first line that are no columns here."""

    object: Literal["suppression_import"]
    id: Id
    tenant_id: Id
    status: Literal["queued", "running", "completed"]
    lines: int
    added: int
    existing: int
    failed: int
    ignored_columns: list[str]
    created_at: Time
    completed_at: Time | None


class SuppressionImportResult(Struct):
    """A line that was not added. line: its number in the file. email: as written there."""

    line: int
    email: str
    problem: str


OPERATIONS = {
    "post /v1/suppressions": Operation(
        "addSuppression",
        SuppressionResponse,
        {"email": "ann@example.net", "list": "news", "note": "asked by phone"},
        access=SPANNING_UNLESS_OPERATOR,
    ),
    "get /v1/suppressions": Operation(
        "listSuppressions",
        list_of(SuppressionResponse),
        access=SPANNING_UNLESS_OPERATOR,
    ),
    "get /v1/suppressions/{email}": Operation(
        "getSuppression", SuppressionResponse, access=SPANNING_UNLESS_OPERATOR
    ),
    "delete /v1/suppressions/{email}": Operation(
        "deleteSuppression", DeleteResponse, access=SPANNING_UNLESS_OPERATOR
    ),
    "post /v1/suppressions/batch/add": Operation(
        "addSuppressions",
        AddSuppressionsResponse,
        {"emails": ["ann@example.net"]},
        access=SPANNING_UNLESS_OPERATOR,
    ),
    "post /v1/suppressions/batch/remove": Operation(
        "removeSuppressions",
        RemoveSuppressionsResponse,
        {"emails": ["ann@example.net"]},
        access=SPANNING_UNLESS_OPERATOR,
    ),
    "get /v1/suppressions/export": Operation(
        "exportSuppressions", None, access=NAMING_TENANT, media_types=("text/csv",)
    ),
    "post /v1/suppressions/imports": Operation(
        "createSuppressionImport", SuppressionImportResponse, access=NAMING_TENANT
    ),
    "get /v1/suppressions/imports": Operation(
        "listSuppressionImports", list_of(SuppressionImportResponse), access=NAMING_TENANT
    ),
    "get /v1/suppressions/imports/{import_id}": Operation(
        "getSuppressionImport", SuppressionImportResponse, access=NAMING_TENANT
    ),
    "delete /v1/suppressions/imports/{import_id}": Operation(
        "deleteSuppressionImport", DeleteResponse, access=NAMING_TENANT
    ),
    "get /v1/suppressions/imports/{import_id}/results": Operation(
        "listSuppressionImportResults",
        list_of(SuppressionImportResult),
        access=NAMING_TENANT,
        media_types=("text/csv",),
    ),
}
