"""The common fields of requests: tenant or account, ids, page."""

from datetime import datetime
from typing import Any

import grpc

from kernel import times
from kernel.database import RowOwner
from kernel.ids import canonical_uuid
from kernel.rpc import RequestError

LIMIT_DEFAULT = 20
LIMIT_MAX = 100


def not_found(what: str) -> RequestError:
    """The error for an unknown id; an id of another tenant gets the same."""
    return RequestError(f"{what} not found", grpc.StatusCode.NOT_FOUND)


def parse_resource_id(text: str, what: str) -> str:
    """A UUID in its canonical form; any other text is an unknown id."""
    try:
        return canonical_uuid(text)
    except ValueError as error:
        raise not_found(what) from error


def parse_cursor(text: str, name: str) -> str:
    """An id to page from, in its canonical form; empty if not given."""
    return parse_resource_id(text.removeprefix("evt_"), f"id in {name}") if text else ""


def tenant_id_of(request: Any) -> str:  # noqa: ANN401 - any request
    return parse_resource_id(request.tenant_id, "tenant_id")


def owner_of(request: Any) -> RowOwner:  # noqa: ANN401 - any request
    if request.tenant_id or not request.account_id:
        return RowOwner(tenant_id_of(request), None)
    return RowOwner(None, parse_resource_id(request.account_id, "account_id"))


def time_of(request: Any, name: str) -> datetime | None:  # noqa: ANN401
    """A time field of the request; None if not set."""
    try:
        return times.from_timestamp(getattr(request, name)) if request.HasField(name) else None
    except ValueError as error:
        raise RequestError(f"{name}: {error}", field=name) from error


def page_limit(request: Any) -> int:  # noqa: ANN401
    limit = int(request.limit or LIMIT_DEFAULT)
    if limit > LIMIT_MAX:
        raise RequestError(f"limit must be between 1 and {LIMIT_MAX}", field="limit")
    return limit
