"""Shared by the REST resources: access, decoded bodies, pages of lists, JSON responses."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, TypeAlias, TypeVar, get_origin

import msgspec
from fastapi import Depends, Query, Response
from fastapi import Request as Incoming
from fastapi.dependencies.models import Dependant
from google.protobuf.timestamp_pb2 import Timestamp

from kernel import times
from services.ingest.api import responses
from services.ingest.api.access import AccessControl, Principal, raise_if_rate_limited
from services.ingest.api.callers import AccessRule, Caller
from services.ingest.api.http import Request, read_body
from services.ingest.api.operations import OPERATIONS
from services.ingest.domain.pointers import decode_body
from services.ingest.domain.problem import Fault, Problem, invalid
from services.ingest.domain.rate_limiter import RateLimitStatus
from services.ingest.store.directory_lists import PageBounds

T = TypeVar("T")
Limit: TypeAlias = Annotated[
    int, Query(ge=1, le=100, description="Maximum number of items on the page, 1 to 100")
]
Cursor: TypeAlias = Annotated[str, Query(max_length=400, description="Id of an item of the list")]


def request_of(incoming: Incoming) -> Request:
    request: Request = incoming.scope["state"]["obm_request"]
    return request


class RestAccess:
    """Authenticates requests and adds the rate limit fields to their responses."""

    def __init__(self, access: AccessControl) -> None:
        self._access = access

    async def authenticate(self, incoming: Incoming) -> Principal:
        """The caller of an operation on a tenant, by the operation's rule. Raises Problem."""
        request = request_of(incoming)
        principal, rate_limit = await self._access.authenticate(
            request.header(b"authorization"),
            request.client,
            rule=rule_of(incoming),
            named_tenant=request.named_tenant,
        )
        self._admit(incoming, rate_limit, principal)
        return principal._replace(request_id=request.id, client=request.client)

    async def authenticate_caller(self, incoming: Incoming) -> Caller:
        """The caller of any other operation, by the operation's rule. Raises Problem."""
        request = request_of(incoming)
        caller, rate_limit = await self._access.authenticate_caller(
            request.header(b"authorization"),
            request.client,
            rule=rule_of(incoming),
            named_tenant=request.named_tenant,
        )
        self._admit(incoming, rate_limit, caller)
        return caller._replace(request_id=request.id, client=request.client)

    def _admit(
        self, incoming: Incoming, rate_limit: RateLimitStatus, asker: Caller | Principal
    ) -> None:
        """Raises Problem if there are too many requests, or if the query is invalid."""
        incoming.scope["state"]["obm_headers"] += responses.rate_limit_headers(rate_limit)
        raise_if_rate_limited(rate_limit)
        request = request_of(incoming)
        request.asker = asker
        owner_id = asker.tenant_id or asker.key.account_id
        request.reservation = self._access.bodies.reserve(owner_id)
        check_query(incoming)


def rule_of(incoming: Incoming) -> AccessRule:
    """The rule that the route of a request declares in OPERATIONS."""
    return OPERATIONS[f"{incoming.method.lower()} {incoming.scope['route'].path}"].access


def check_query(incoming: Incoming) -> None:
    """Refuse NUL, unknown parameters, and parameters that exclude each other. Raises Problem."""
    if "\0" in incoming.scope["path"]:
        raise invalid([Fault("#", "invalid", "The path contains NUL.")])
    for name, value in incoming.query_params.multi_items():
        if "\0" in value:
            raise invalid([Fault(f"#/query/{name[:80]}", "invalid", f"{name[:80]} contains NUL.")])
    if not incoming.query_params:
        return
    if incoming.query_params.get("after") and incoming.query_params.get("before"):
        raise invalid(
            [
                Fault(
                    "#/query/before",
                    "invalid",
                    "The request has both after and before. Use one of them.",
                )
            ]
        )
    names = [name for name, _ in incoming.query_params.multi_items()]
    lists = list_names(incoming.scope["route"].dependant)
    if repeated := [name for name in names if names.count(name) > 1 and name not in lists]:
        name = repeated[0][:80]
        raise invalid([Fault(f"#/query/{name}", "invalid", f"{name} is given more than once.")])
    parameters = query_names(incoming.scope["route"].dependant)
    if unknown := sorted(incoming.query_params.keys() - parameters):
        name = unknown[0][:80]
        raise invalid([Fault(f"#/query/{name}", "unknown_field", f"Unknown parameter {name}.")])


def query_names(route: Dependant) -> set[str]:
    """The parameters of a route and of its dependencies."""
    names = {field.alias for field in route.query_params}
    return names.union(*(query_names(part) for part in route.dependencies))


def list_names(route: Dependant) -> set[str]:
    """The parameters of a route that may be repeated."""
    lists = [one for one in route.query_params if get_origin(one.field_info.annotation) is list]
    names = {field.alias for field in lists}
    return names.union(*(list_names(part) for part in route.dependencies))


@dataclass(frozen=True, slots=True)
class PageRequest:
    """A page of a list: newest first, with ids as cursors."""

    limit: int
    after: str
    before: str


def parse_page_request(limit: Limit = 20, after: Cursor = "", before: Cursor = "") -> PageRequest:
    """A dependency for routes."""
    return PageRequest(limit, after, before)


def parse_forward_page_request(limit: Limit = 20, after: Cursor = "") -> PageRequest:
    """A dependency for lists that can be read in one direction only."""
    return PageRequest(limit, after, "")


RequestedPage: TypeAlias = Annotated[PageRequest, Depends(parse_page_request)]
RequestedForwardPage: TypeAlias = Annotated[PageRequest, Depends(parse_forward_page_request)]


def page_of(requested: PageRequest) -> PageBounds:
    return PageBounds(requested.limit, requested.after, requested.before)


async def decode_request_body(incoming: Incoming, decode: Callable[[bytes], T]) -> T:
    """Decode the body. Raises Problem."""
    request = request_of(incoming)
    request.check_json()
    return decode_body(decode, await read_body(request, incoming.receive))


async def decode_creation_body(incoming: Incoming, decode: Callable[[bytes], T]) -> T:
    """Decode the body of a create request without idempotency. Raises Problem."""
    check_no_key(incoming)
    return await decode_request_body(incoming, decode)


async def decode_optional_body(incoming: Incoming, decode: Callable[[bytes], T]) -> T:
    """Decode the body of an act; without one, all its fields have their defaults. Raises
    Problem."""
    check_no_key(incoming)
    request = request_of(incoming)
    body = await read_body(request, incoming.receive)
    if body:
        request.check_json()
    return decode_body(decode, body or b"{}")


def check_no_key(incoming: Incoming) -> None:
    """Refuse an Idempotency-Key on routes that do not support it: the client would rely on it.
    Raises Problem."""
    if request_of(incoming).idempotency_key is not None:
        detail = "This route does not support Idempotency-Key. Send the request without it."
        raise Problem(400, "invalid_idempotency_key", detail=detail)


def json_response(
    value: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    return Response(
        responses.encode(value), status, headers=headers and dict(headers),
        media_type="application/json",
    )  # fmt: skip


def list_response(data: Iterable[object], *, has_more: bool) -> Response:
    return json_response({"object": "list", "has_more": has_more, "data": list(data)})


def deleted_response(kind: str, identifier: str) -> Response:
    return json_response({"object": kind, "id": identifier, "deleted": True})


def format_timestamp(stamp: Timestamp) -> str | None:
    """RFC 3339 in UTC; None for a time that is not set."""
    if not stamp.seconds:
        return None
    return format_time(times.clamp_timestamp(stamp))


def format_time(when: datetime) -> str:
    return when.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def parse_time_parameter(text: str, name: str) -> Timestamp | None:
    """Parse a time in a query parameter. Raises Problem."""
    if not text:
        return None
    try:
        moment = times.parse_time(text.replace(" ", "+"))
    except ValueError as error:
        fault = Fault(f"#/{name}", "invalid_time", f"Invalid {name}: {error}.")
        raise invalid([fault]) from None
    return Timestamp(seconds=int(moment.timestamp()))


def body_schema(
    kind: Any,  # noqa: ANN401 - any type msgspec knows
    description: str,
    *,
    required: bool = True,
    or_else: Any = None,  # noqa: ANN401 - likewise
) -> dict[str, Any]:
    """The request body of a route, for `openapi_extra`. or_else: another type that it may have."""
    kinds = [kind] if or_else is None else [kind, or_else]
    schemas, components = msgspec.json.schema_components(kinds, ref_template=REF)
    BODY_SCHEMAS.update(components)
    schema = {"anyOf": list(schemas)} if len(schemas) > 1 else schemas[0]
    content = {"application/json": {"schema": schema}}
    return {"requestBody": {"required": required, "description": description, "content": content}}


REF = "#/components/schemas/{name}"
BODY_SCHEMAS: dict[str, Any] = {}  # schemas that the routes' bodies refer to

PROBLEM_RESPONSES: dict[int | str, dict[str, Any]] = {
    "4XX": {"description": "Refused (RFC 9457), see `name`"},
    "5XX": {"description": "Failed without effect; retry later"},
}
