"""What every resource needs: who calls, the body in its shape, the answer as JSON."""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, TypeAlias, TypeVar
from uuid import UUID

import msgspec
from fastapi import Query, Response
from fastapi import Request as Incoming
from google.protobuf.timestamp_pb2 import Timestamp

from kernel import auth
from kernel.errors import Unavailable
from services.ingest.api import answers
from services.ingest.api.gate import Caller, Gate, within
from services.ingest.api.http import Request, body_of
from services.ingest.domain.pointers import problem_of
from services.ingest.domain.problem import Problem, not_found, unavailable

T = TypeVar("T")
Limit: TypeAlias = Annotated[int, Query(ge=1, le=100, description="of the page")]
Cursor: TypeAlias = Annotated[str, Query(max_length=400, description="an id of the list")]


def request_of(incoming: Incoming) -> Request:
    request: Request = incoming.scope["state"]["obm_request"]
    return request


class Admission:
    """Who calls, with the figures of its limit in the answer."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate

    async def caller(self, incoming: Incoming, scope: str = auth.FULL_ACCESS) -> Caller:
        """Raises Problem."""
        request = request_of(incoming)
        caller, quota = await self._gate.admit(
            request.header(b"authorization"), request.client, scope=scope
        )
        incoming.scope["state"]["obm_headers"] += answers.quota_headers(quota)
        within(quota)
        return caller


@dataclass(frozen=True, slots=True)
class Page:
    """Of a list: newest first, ids as cursors."""

    limit: int
    after: str
    before: str


def page(limit: Limit = 20, after: Cursor = "", before: Cursor = "") -> Page:
    """For routes with Depends. Raises Problem."""
    if after and before:
        detail = "give after or before, not both"
        raise Problem(422, "validation_error", detail=detail)
    return Page(limit, after, before)


async def body(incoming: Incoming, decode: Callable[[bytes], T]) -> T:
    """The body in its shape. Raises Problem."""
    request = request_of(incoming)
    request.check_json()
    try:
        return decode(await body_of(request, incoming.receive))
    except msgspec.DecodeError as error:
        raise problem_of(error) from None


async def asked(question: Awaitable[T]) -> T:
    """What our own database answers. Raises Problem."""
    try:
        return await question
    except Unavailable as error:
        raise unavailable(f"{error} is away") from error


def said(what: object, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    return Response(
        answers.encode(what), status, headers=headers and dict(headers),
        media_type="application/json",
    )  # fmt: skip


def listed(data: Iterable[object], *, has_more: bool) -> Response:
    return said({"object": "list", "has_more": has_more, "data": list(data)})


def deleted(kind: str, identifier: str) -> Response:
    return said({"object": kind, "id": identifier, "deleted": True})


def known_id(text: str, what: str) -> str:
    """The UUID in its usual spelling. Raises Problem: what is none names nothing."""
    try:
        return str(UUID(text))
    except ValueError:
        raise not_found(what) from None


def moment(stamp: Timestamp) -> str | None:
    """RFC 3339 in UTC; None for a time that is not set."""
    if not stamp.seconds:
        return None
    return iso(datetime.fromtimestamp(stamp.seconds + stamp.nanos / 1e9, UTC))


def iso(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def timestamp(text: str, what: str) -> Timestamp | None:
    """A query parameter. Raises Problem."""
    if not text:
        return None
    try:
        when = datetime.fromisoformat(text.replace(" ", "+"))
    except ValueError:
        raise Problem(422, "validation_error", detail=f"{what} is not an ISO 8601 time") from None
    when = when.replace(tzinfo=UTC) if when.tzinfo is None else when
    return Timestamp(seconds=int(when.timestamp()))


def shape(kind: Any, description: str) -> dict[str, Any]:  # noqa: ANN401 - any type msgspec knows
    """For a route's `openapi_extra`: the body that it takes."""
    [schema], components = msgspec.json.schema_components([kind], ref_template=REF)
    SHAPES.update(components)
    content = {"application/json": {"schema": schema}}
    return {"requestBody": {"required": True, "description": description, "content": content}}


REF = "#/components/schemas/{name}"
SHAPES: dict[str, Any] = {}  # what the routes' bodies refer to

PROBLEMS: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "refused: RFC 9457, see `name`"},
    "5XX": {"description": "nothing was done: try again later"},
}
