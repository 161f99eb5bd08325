"""What every resource needs: who calls, the body in its shape, the answer as JSON."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, TypeAlias, TypeVar

import msgspec
from fastapi import Query, Response
from fastapi import Request as Incoming
from fastapi.dependencies.models import Dependant
from google.protobuf.timestamp_pb2 import Timestamp

from kernel import auth, times
from kernel.errors import Unavailable
from kernel.ids import canonical
from services.ingest.api import answers
from services.ingest.api.gate import Caller, Gate, within
from services.ingest.api.http import Request, body_of
from services.ingest.domain.pointers import decoded
from services.ingest.domain.problem import Fault, Problem, invalid, not_found, unavailable

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
        request.held = self._gate.bodies.of(caller.tenant_id)
        check_names(incoming)
        return caller


def check_names(incoming: Incoming) -> None:
    """Who may call hears what is wrong with a query: a parameter that the route does not have, two
    that exclude each other, NUL. Raises Problem."""
    if "\0" in incoming.scope["path"] or "\0" in "".join(incoming.query_params.values()):
        raise invalid([Fault("#", "invalid", "a path and its parameters hold no NUL")])
    if not incoming.query_params:
        return
    if incoming.query_params.get("after") and incoming.query_params.get("before"):
        raise invalid([Fault("#/query/before", "invalid", "give after or before, not both")])
    known = query_names(incoming.scope["route"].dependant)
    if unknown := sorted(incoming.query_params.keys() - known):
        shown = unknown[0][:80]
        raise invalid(
            [Fault(f"#/query/{shown}", "unknown_field", f"there is no parameter {shown}")]
        )


def query_names(route: Dependant) -> set[str]:
    """The parameters of a route, and of what it depends on."""
    names = {field.alias for field in route.query_params}
    return names.union(*(query_names(part) for part in route.dependencies))


@dataclass(frozen=True, slots=True)
class Page:
    """Of a list: newest first, ids as cursors."""

    limit: int
    after: str
    before: str


def page(limit: Limit = 20, after: Cursor = "", before: Cursor = "") -> Page:
    """For routes with Depends."""
    return Page(limit, after, before)


def onward(limit: Limit = 20, after: Cursor = "") -> Page:
    """For lists that are read in one direction alone."""
    return Page(limit, after, "")


def part(found: Sequence[T], which: Page, *, id_of: Callable[[T], str]) -> tuple[Sequence[T], bool]:
    """A page of a list that is held whole, and whether there is more in its direction."""
    ordered = sorted(found, key=id_of, reverse=True)
    if which.before:
        newer = [one for one in ordered if id_of(one) > which.before]
        return newer[-which.limit :], len(newer) > which.limit
    older = [one for one in ordered if not which.after or id_of(one) < which.after]
    return older[: which.limit], len(older) > which.limit


async def body(incoming: Incoming, decode: Callable[[bytes], T]) -> T:
    """The body in its shape. Raises Problem."""
    request = request_of(incoming)
    request.check_json()
    return decoded(decode, await body_of(request, incoming.receive))


async def new(incoming: Incoming, decode: Callable[[bytes], T]) -> T:
    """The body of what is made anew each time. Raises Problem."""
    check_no_key(incoming)
    return await body(incoming, decode)


def check_no_key(incoming: Incoming) -> None:
    """Who sends an Idempotency-Key counts on it: better refused than not kept. Raises Problem."""
    if request_of(incoming).idempotency_key is not None:
        detail = "this route takes no Idempotency-Key: a repeat would do it once more"
        raise Problem(400, "invalid_idempotency_key", detail=detail)


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
        return canonical(text)
    except ValueError:
        raise not_found(what) from None


def moment(stamp: Timestamp) -> str | None:
    """RFC 3339 in UTC; None for a time that is not set."""
    if not stamp.seconds:
        return None
    return iso(times.near(stamp))


def iso(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def timestamp(text: str, what: str) -> Timestamp | None:
    """A query parameter. Raises Problem."""
    if not text:
        return None
    try:
        moment = times.read(text.replace(" ", "+"))
    except ValueError as error:
        fault = Fault(f"#/{what}", "invalid_time", f"{what}: {error}")
        raise invalid([fault]) from None
    return Timestamp(seconds=int(moment.timestamp()))


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
