"""What every request has: a tenant, ids, a page."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from functools import wraps
from typing import Any, TypeVar

import grpc
import grpc.aio

from kernel import times
from kernel.errors import Unavailable
from kernel.ids import canonical

S = TypeVar("S")
Q = TypeVar("Q")
R = TypeVar("R")
LIMIT_DEFAULT = 20
LIMIT_MAX = 100
Context = grpc.aio.ServicerContext[Any, Any]


class Wrong(Exception):
    """The request cannot be answered: its code and words go to the caller."""

    def __init__(
        self, detail: str, code: grpc.StatusCode = grpc.StatusCode.INVALID_ARGUMENT
    ) -> None:
        super().__init__(detail)
        self.code = code


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
    try:
        return canonical(text.removeprefix("evt_")) if text else ""
    except ValueError as error:
        raise Wrong(f"{name} is not an id") from error


def tenant(request: Any) -> str:  # noqa: ANN401 - any request
    try:
        return canonical(request.tenant_id)
    except ValueError as error:
        raise Wrong("tenant_id is not an id") from error


def words(text: str, name: str) -> str:
    """Of a filter: what the database takes as text."""
    if "\0" in text:
        raise Wrong(f"{name} holds a NUL")
    return text


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


def answering(
    method: Callable[[S, Q, Context], Awaitable[R]],
) -> Callable[[S, Q, Context], Awaitable[R]]:
    """A method of the servicer that raises Wrong for what the caller did, and whatever for us."""

    @wraps(method)
    async def answer(self: S, request: Q, context: Context) -> R:
        try:
            return await method(self, request, context)
        except Wrong as error:
            await context.abort(error.code, str(error))
        except Unavailable as error:
            await context.abort(grpc.StatusCode.UNAVAILABLE, f"{error} is away")

    return answer
