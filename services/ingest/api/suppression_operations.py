"""The operations on suppressions and on files of them, for the OpenAPI document."""

from services.ingest.api.callers import SPANNING_UNLESS_OPERATOR
from services.ingest.api.operation import Operation
from services.ingest.api.response_schemas import DeleteResponse, list_of
from services.ingest.api.suppression_schemas import (
    AddSuppressionsResponse,
    RemoveSuppressionsResponse,
    SuppressionImportFailure,
    SuppressionImportResponse,
    SuppressionResponse,
)

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
        "exportSuppressions", None, access=SPANNING_UNLESS_OPERATOR, media_types=("text/csv",)
    ),
    "post /v1/suppressions/imports": Operation(
        "createSuppressionImport", SuppressionImportResponse, access=SPANNING_UNLESS_OPERATOR
    ),
    "get /v1/suppressions/imports": Operation(
        "listSuppressionImports",
        list_of(SuppressionImportResponse),
        access=SPANNING_UNLESS_OPERATOR,
    ),
    "get /v1/suppressions/imports/{import_id}": Operation(
        "getSuppressionImport", SuppressionImportResponse, access=SPANNING_UNLESS_OPERATOR
    ),
    "delete /v1/suppressions/imports/{import_id}": Operation(
        "deleteSuppressionImport", DeleteResponse, access=SPANNING_UNLESS_OPERATOR
    ),
    "get /v1/suppressions/imports/{import_id}/results": Operation(
        "listSuppressionImportResults",
        list_of(SuppressionImportFailure),
        access=SPANNING_UNLESS_OPERATOR,
        media_types=("text/csv",),
    ),
}
