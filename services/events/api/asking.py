"""What every request has: a tenant, ids, a page."""

from datetime import datetime
from typing import Any

import grpc

from kernel import times
from kernel.ids import canonical
from kernel.rpc import Wrong, identity

LIMIT_DEFAULT = 20
LIMIT_MAX = 100


def not_found(what: str) -> Wrong:
    """A foreign id and a missing one look the same."""
    return Wrong(f"{what} not found", grpc.StatusCode.NOT_FOUND)


def identifier(text: str, what: str) -> str:
    """A UUID in its canonical form; what is none cannot be found."""
    try:
        return canonical(text)
    except ValueError as error:
        raise not_found(what) from error


def cursor(text: str, name: str) -> str:
    """An id to page from, in its canonical form; empty where there is none."""
    return identity(text.removeprefix("evt_"), name) if text else ""


def tenant(request: Any) -> str:  # noqa: ANN401 - any request
    return identity(request.tenant_id, "tenant_id")


def moment(request: Any, name: str) -> datetime | None:  # noqa: ANN401
    """A field of the request that is a time; None where it is not set."""
    try:
        return times.of(getattr(request, name)) if request.HasField(name) else None
    except ValueError as error:
        raise Wrong(f"{name}: {error}") from error


def limit(request: Any) -> int:  # noqa: ANN401
    wanted = request.limit or LIMIT_DEFAULT
    if wanted > LIMIT_MAX:
        raise Wrong(f"limit must be between 1 and {LIMIT_MAX}")
    return int(wanted)
