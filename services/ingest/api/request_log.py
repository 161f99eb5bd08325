"""The log of API requests, for REST and gRPC."""

from collections.abc import Callable
from typing import Any, Protocol
from uuid import UUID

from contracts.ingest.v1.directory_pb2 import ApiKey, Tenant
from kernel.ids import creation_time_of, uuid7_text
from services.ingest.api.administration.directory import check_page, parse_id, query_or_503
from services.ingest.api.callers import Caller
from services.ingest.api.http import Request
from services.ingest.api.rest_base import format_time
from services.ingest.domain.problem import not_found
from services.ingest.domain.request_log import LoggedRequest
from services.ingest.store.directory_lists import PageBounds
from services.ingest.store.request_log import RequestLogReader, StoredRequest

PREFIX = "/v1"
WHAT = "the log"


class CallerOrPrincipal(Protocol):
    """A Caller or a Principal."""

    @property
    def key(self) -> ApiKey: ...
    @property
    def tenant(self) -> Tenant | None: ...
    @property
    def request_id(self) -> str: ...


class RequestRecorder:
    """Records requests of accounts and tenants. add: of a RequestLogWriter."""

    def __init__(self, add: Callable[[LoggedRequest], None]) -> None:
        self._add = add

    def record(self, request: Request, status: int) -> None:
        """Do nothing without a caller: nobody could see the entry."""
        asker: CallerOrPrincipal | None = request.asker
        if asker is None or not asker.key.account_id:
            return
        logged = LoggedRequest(
            uuid7_text(),
            asker.key.account_id,
            asker.tenant.tenant_id if asker.tenant is not None else "",
            asker.key.test,
            "HEAD" if request.is_head else request.scope["method"],
            endpoint_of(request),
            status,
            request.header(b"user-agent"),
            request.id,
        )
        if 400 <= status < 500:
            logged = logged._replace(request_body=request.body, response_body=request.refusal)
        self._add(logged)

    def record_rpc(
        self, asker: CallerOrPrincipal, endpoint: str, *, status: int, user_agent: str
    ) -> None:
        """Without bodies. Acts of operators are in the audit log only."""
        if not asker.key.account_id:
            return
        self._add(
            LoggedRequest(
                uuid7_text(),
                asker.key.account_id,
                asker.tenant.tenant_id if asker.tenant is not None else "",
                asker.key.test,
                "POST",
                endpoint,
                status,
                user_agent,
                asker.request_id,
            )
        )


def endpoint_of(request: Request) -> str:
    """The path without the version. An address in it is not kept."""
    params: dict[str, str] = request.scope.get("path_params") or {}
    path = request.path.removeprefix(PREFIX)
    hidden = {name for name, value in params.items() if "@" in value or "%" in value}
    if not hidden:
        return path
    route = str(request.scope["route"].path).removeprefix(PREFIX)
    for name in params.keys() - hidden:
        route = route.replace(f"{{{name}}}", params[name])
    return route


class RequestLogResource:
    """Those of a tenant, or of an account and all its tenants. A test key sees those of test
    keys."""

    def __init__(self, requests: RequestLogReader) -> None:
        self._requests = requests

    async def page(self, caller: Caller, page: PageBounds) -> tuple[list[StoredRequest], bool]:
        """Newest first. Raises Problem."""
        return await query_or_503(
            self._requests.page(caller.owner, check_page(page), test_only=caller.test)
        )

    async def get(self, caller: Caller, log_id: str) -> StoredRequest:
        """Raises Problem 404."""
        found, _ = await query_or_503(
            self._requests.page(
                caller.owner,
                PageBounds(1),
                test_only=caller.test,
                request_id=parse_id(log_id, WHAT),
            )
        )
        if not found:
            raise not_found(WHAT)
        return found[0]


def to_json(one: StoredRequest) -> dict[str, Any]:
    """With Resend's field names."""
    return {
        "id": one.id,
        "created_at": format_time(creation_time_of(UUID(one.id))),
        "endpoint": one.endpoint,
        "method": one.method,
        "response_status": one.status,
        "user_agent": one.user_agent,
        "request_id": one.request_id,
    }


def whole_to_json(one: StoredRequest) -> dict[str, Any]:
    bodies = {"request_body": one.request_body, "response_body": one.response_body}
    return {"object": "log", **to_json(one), **bodies}
