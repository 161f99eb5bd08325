"""Schemas of responses about suppressions, for the OpenAPI document."""

from typing import Literal

from msgspec import Struct

from services.ingest.api.response_schemas import Id, Time


class SuppressionResponse(Struct):
    """A suppressed address with the reason. tenant_id: null for all tenants of an account. list:
    whose broadcasts are suppressed; null for all mail."""

    object: Literal["suppression"]
    id: Id
    tenant_id: Id | None
    email: str
    scope: Literal["tenant", "list", "account"]
    list: str | None
    origin: str
    reason: str | None
    note: str | None
    source_id: str | None
    created_at: Time | None
    expires_at: Time | None


class SuppressionReference(Struct):
    """A suppressed address."""

    object: Literal["suppression"]
    id: Id


class RemovedSuppression(SuppressionReference):
    """A suppression that was removed."""

    deleted: bool


class AddSuppressionsResponse(Struct):
    """The suppressions, in the order of the request."""

    data: list[SuppressionReference]


class RemoveSuppressionsResponse(Struct):
    """The suppressions that were removed."""

    data: list[RemovedSuppression]


class SuppressionImportResponse(Struct):
    """An import of suppressions. tenant_id: null for all tenants of an account. lines: addresses in
    the file. added, existing, failed: of those so far. ignored_columns: names of the first line
    that are no columns here."""

    object: Literal["suppression_import"]
    id: Id
    tenant_id: Id | None
    scope: Literal["tenant", "account"]
    status: Literal["queued", "running", "completed"]
    lines: int
    added: int
    existing: int
    failed: int
    ignored_columns: list[str]
    created_at: Time
    completed_at: Time | None


class SuppressionImportFailure(Struct):
    """A line that was not added. line: its number in the file. email: as written there."""

    line: int
    email: str
    problem: str
