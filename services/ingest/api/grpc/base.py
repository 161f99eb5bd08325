"""Shared by the gRPC services: access, requests, pages of lists, the status of a refusal."""

import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial, wraps
from types import MappingProxyType
from typing import Any, Protocol, TypeVar

import msgspec
from google.protobuf.json_format import MessageToDict, ParseDict
from google.protobuf.message import Message
from google.rpc import code_pb2, error_details_pb2, status_pb2  # type: ignore[import-untyped]
from grpc_status import rpc_status

from kernel.ids import canonical_uuid
from services.ingest.api.access import AccessControl, Principal, raise_if_rate_limited
from services.ingest.api.brand_resolver import BrandResolver
from services.ingest.api.callers import AccessRule, Caller
from services.ingest.api.grpc.server import Context, TrustedProxies, metadata_value, read_message
from services.ingest.api.http import new_request_id
from services.ingest.api.http_app import application_error
from services.ingest.api.operations import OPERATIONS
from services.ingest.api.request_log import RequestRecorder
from services.ingest.domain.body_memory import BodyMemory
from services.ingest.domain.pointers import problem_of
from services.ingest.domain.problem import Fault, Problem, invalid
from services.ingest.store.directory_lists import PageBounds

CODES = {
    401: code_pb2.UNAUTHENTICATED,
    403: code_pb2.PERMISSION_DENIED,
    404: code_pb2.NOT_FOUND,
    408: code_pb2.DEADLINE_EXCEEDED,
    409: code_pb2.FAILED_PRECONDITION,
    429: code_pb2.RESOURCE_EXHAUSTED,
    500: code_pb2.INTERNAL,
    503: code_pb2.UNAVAILABLE,
}
CODES_BY_NAME = {
    "restricted_api_key": code_pb2.PERMISSION_DENIED,
    "concurrent_idempotent_requests": code_pb2.ABORTED,
}
PAGE_SIZE, PAGE_SIZE_MAX = 20, 100
INVALID_TOKEN = "Invalid page_token. Use the next_page_token of a list."  # noqa: S105 - a text
SELECTION = {"id", "page_size", "page_token"}  # fields of what is in REST's path and query
RULES = {operation.id: operation.access for operation in OPERATIONS.values()}
OPERATION_IDS = {"UpdateEmail": "rescheduleEmail"}  # of RPCs with another name than in REST

logger = logging.getLogger(__name__)

M = TypeVar("M", bound=Message)
R = TypeVar("R", bound=Message | None)  # None: the method writes its responses
T = TypeVar("T")


class RpcAccess:
    """Authenticates calls."""

    def __init__(
        self,
        access: AccessControl,
        proxies: TrustedProxies,
        brands: BrandResolver,
        *,
        recorder: RequestRecorder,
    ) -> None:
        self.brands = brands
        self.recorder = recorder
        self._access = access
        self._proxies = proxies

    @property
    def bodies(self) -> BodyMemory:
        return self._access.bodies

    async def authenticate(
        self, context: Context, rule: AccessRule, *, of_tenant: bool = False
    ) -> Principal | Caller:
        """of_tenant: a Principal, else a Caller. Raises Problem."""
        client = self._proxies.client_of(context)
        authenticate = self._access.authenticate if of_tenant else self._access.authenticate_caller
        found, rate_limit = await authenticate(
            metadata_value(context, "authorization"),
            client,
            rule=rule,
            named_tenant=partial(metadata_value, context, "x-tenant-id"),
        )
        raise_if_rate_limited(rate_limit)
        return found._replace(request_id=new_request_id(), client=client)


class AuthenticatedServicer(Protocol):
    """A service whose RPCs are authenticated."""

    access: RpcAccess


S = TypeVar("S", bound=AuthenticatedServicer)


def authenticated(
    method: Callable[[S, Any, Any, Context], Awaitable[R]],
) -> Callable[[S, Any, Context], Awaitable[R]]:
    """Authenticate by the rule of the RPC, before its message is read. A Problem becomes the status
    of the call. method: also gets a Principal or a Caller, by its annotation."""
    rule, name = rule_of(method.__name__), method.__name__
    of_tenant = Principal in method.__annotations__.values()

    @wraps(method)
    async def wrapped(self: S, _: object, context: Context) -> R:
        access, caller = self.access, None
        brand = access.brands.all.neutral  # gRPC does not show which host the client has called
        try:
            caller = await access.authenticate(context, rule, of_tenant=of_tenant)
            brand = access.brands.of(
                caller.tenant.account_id if caller.tenant else caller.key.account_id
            )
            owner_id = caller.tenant_id or getattr(caller, "account_id", "")
            with closing(access.bodies.reserve(owner_id)) as reservation:
                message = await read_message(context, reservation)
                response = await method(self, message, caller, context)
            record(access, self, name, caller=caller, context=context)
            return response
        except Problem as problem:
            refusal = problem
        except Exception:
            logger.exception("request.failed")
            refusal = application_error()
        record(access, self, name, caller=caller, context=context, status=refusal.status)
        status = status_of(refusal, domain=brand.slug)
        await context.abort_with_status(rpc_status.to_status(status))
        raise refusal

    return wrapped


def record(
    access: RpcAccess,
    servicer: object,
    name: str,
    *,
    caller: Principal | Caller | None,
    context: Context,
    status: int = 200,
) -> None:
    """Log a call by the name of its service and its own."""
    if caller is not None:
        service = type(servicer).__name__.removesuffix("Servicer")
        agent = metadata_value(context, "user-agent")
        endpoint = f"/{service}Service/{name}"
        access.recorder.record_rpc(caller, endpoint, status=status, user_agent=agent)


def rule_of(rpc: str) -> AccessRule:
    """The access rule of an RPC is that of its REST operation."""
    return RULES[operation_of(rpc)]


def operation_of(rpc: str) -> str:
    """The id of the REST operation with the name of an RPC."""
    return OPERATION_IDS.get(rpc, rpc[0].lower() + rpc[1:])


def given_fields(
    request: Message, kind: type[T], *, empty: Mapping[str, object] = MappingProxyType({})
) -> T:
    """The fields of a request as the body of the REST operation, so that the same rules apply.
    empty: those that REST requires and a message cannot tell apart from nothing. Raises Problem."""
    given = checked_json(request)
    try:
        body = {name: value for name, value in given.items() if name not in SELECTION}
        return msgspec.convert({**empty, **body}, kind)
    except msgspec.ValidationError as error:
        raise problem_of(error, kind=kind) from None


def checked_json(request: Message) -> dict[str, Any]:
    """Raises Problem for times beyond the year 9999, and for NUL."""
    try:
        given = MessageToDict(request, preserving_proto_field_name=True)
    except ValueError as error:  # of Timestamp
        raise invalid([Fault("#", "invalid_time", f"Invalid time: {error}.")]) from None
    check_texts(given)
    return given


def check_texts(given: Mapping[str, object]) -> None:
    """Refuse NUL, as in the paths and queries of REST. Raises Problem."""
    for name, value in given.items():
        if any("\0" in text for text in texts_of(value)):
            raise invalid([Fault(f"#/{name}", "invalid", f"{name} contains NUL.")])


def texts_of(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list | dict):
        for one in value.values() if isinstance(value, dict) else value:
            yield from texts_of(one)


def proto_from_json(kind: type[M], values: dict[str, object]) -> M:
    """A resource with the fields of its JSON in REST; what is null there is not set."""
    return ParseDict(values, kind(), ignore_unknown_fields=True)


def page_of(request: Any, *, are_ids: bool = True) -> PageBounds:  # noqa: ANN401 - any request of a list
    """are_ids: page tokens are UUIDs. Raises Problem."""
    checked_json(request)
    size = min(request.page_size or PAGE_SIZE, PAGE_SIZE_MAX)
    return PageBounds(size, cursor_of(request.page_token) if are_ids else request.page_token)


def cursor_of(token: str) -> str:
    """The id that a page_token is. Raises Problem."""
    try:
        return canonical_uuid(token) if token else ""
    except ValueError:
        raise invalid([Fault("#/page_token", "invalid", INVALID_TOKEN)]) from None


def next_page_token(resources: Sequence[Any], *, has_more: bool) -> str:
    """resources: those of the page, with ids."""
    return resources[-1].id if has_more and resources else ""


def status_of(problem: Problem, *, domain: str) -> status_pb2.Status:
    """A status with google.rpc details: the faults, and when to retry. domain: of the ErrorInfo."""
    code = CODES_BY_NAME.get(problem.name) or CODES.get(problem.status, code_pb2.INVALID_ARGUMENT)
    status = status_pb2.Status(code=code, message=problem.detail)
    info = error_details_pb2.ErrorInfo(reason=problem.name, domain=domain)
    status.details.add().Pack(info)
    if problem.faults:
        bad = error_details_pb2.BadRequest()
        for fault in problem.faults:
            field = fault.pointer.lstrip("#/").removeprefix("query/").replace("/", ".")
            bad.field_violations.add(field=field, description=fault.detail, reason=fault.code)
        status.details.add().Pack(bad)
    if problem.retry_after_s is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.seconds = problem.retry_after_s
        status.details.add().Pack(retry)
    return status
