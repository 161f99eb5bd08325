"""The ASGI application: POST /v1/emails is handled here, every other route by FastAPI."""

import logging
from collections.abc import MutableMapping
from typing import Any

from kernel import clock, metrics
from kernel.errors import Unavailable
from kernel.http_server import App, Receive, Scope, Send
from services.ingest.api import responses
from services.ingest.api.access import AccessControl, raise_if_rate_limited
from services.ingest.api.brand_resolver import BrandResolver
from services.ingest.api.callers import SENDING
from services.ingest.api.compression import compress_responses
from services.ingest.api.http import ClientDisconnected, Request, send_accepted, send_response
from services.ingest.api.request_log import RequestRecorder
from services.ingest.api.sending import SendHandler
from services.ingest.domain.problem import Problem, unavailable

EMAILS = "/v1/emails"

observe = metrics.accept_duration.labels("rest").observe
count_failure = metrics.accept_failures.labels("rest").inc
logger = logging.getLogger(__name__)


class HttpApp:
    """The ASGI application. Every response is JSON and has a request id."""

    def __init__(
        self,
        access: AccessControl,
        send_handler: SendHandler,
        rest: App,
        *,
        brands: BrandResolver,
        recorder: RequestRecorder,
    ) -> None:
        self._record = recorder.record
        self._brands = brands.all
        self._refresh_brands = brands.refresh
        self._access = access
        self._send_handler = send_handler
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        # RFC 9110 §9.3.2: HEAD is handled as GET; the HTTP server sends no body.
        request = Request(scope, self._brands)
        post = scope["path"] == EMAILS and scope["method"] == "POST"
        if self._brands.knows_all_hosts and (problem := await self._wrong_host(request)):
            headers: responses.Headers = [(b"x-request-id", request.id.encode())]
            await send_problem(request, send, problem, headers=headers)
            return
        try:
            await (self._post_email if post else self._forward)(request, receive, send)
        finally:
            if request.reservation is not None:
                request.reservation.close()

    async def _wrong_host(self, request: Request) -> Problem | None:
        """A refusal of a host that is of no brand (RFC 9110 §15.5.20)."""
        host = request.header(b"host")
        if not self._brands.refuses(host):
            return None
        try:
            if self._refresh_brands is not None:
                await self._refresh_brands()
        except Unavailable:
            return unavailable()
        if not self._brands.refuses(host):
            return None
        return Problem(421, "misdirected_request", detail="This host is not served here.")

    async def _post_email(self, request: Request, receive: Receive, send: Send) -> None:
        began, status = clock.monotonic_s(), 202
        headers: responses.Headers = [(b"x-request-id", request.id.encode())]
        try:
            principal, rate_limit = await self._access.authenticate(
                request.header(b"authorization"), request.client,
                rule=SENDING, named_tenant=request.named_tenant,
            )  # fmt: skip
            headers += responses.rate_limit_headers(rate_limit)
            raise_if_rate_limited(rate_limit)
            request.asker = principal
            request.reservation = self._access.bodies.reserve(principal.tenant_id)
            body, more = await self._send_handler.send_one(request, principal, receive)
            await send_accepted(request, send, body, headers=[*headers, *more])
        except Problem as problem:
            status = problem.status
            await send_problem(request, send, problem, headers=headers)
        except ClientDisconnected:
            return
        except Exception:
            status = 500
            logger.exception("request.failed", extra={"request_id": request.id})
            await send_problem(request, send, application_error(), headers=headers)
        self._record(request, status)
        observe(clock.monotonic_s() - began)
        if status >= 500:
            count_failure()

    async def _forward(self, request: Request, receive: Receive, send: Send) -> None:
        extra: responses.Headers = [(b"x-request-id", request.id.encode())]
        request.scope.setdefault("state", {})["obm_request"] = request
        request.scope["state"]["obm_headers"] = extra
        status = 0

        async def send_more(message: MutableMapping[str, Any]) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message["headers"], *extra]
            await send(message)

        try:
            await self._rest(
                request.scope,
                receive,
                compress_responses(send_more, request.header(b"accept-encoding")),
            )
        except ClientDisconnected:
            return
        except Exception:
            logger.exception("request.failed", extra={"request_id": request.id})
            if not status:
                status = 500
                await send_problem(request, send, application_error(), headers=extra)
        finally:  # or both would wait, with the body, for the garbage collector
            del request.scope["state"]["obm_request"]
        self._record(request, status)


def application_error() -> Problem:
    return Problem(
        500, "application_error", detail="An internal error occurred. Retry the request."
    )


async def send_problem(
    request: Request, send: Send, problem: Problem, *, headers: responses.Headers
) -> None:
    body = responses.problem_body(
        problem, brand=request.brand, path=request.path, request_id=request.id
    )
    request.refusal = body
    more = responses.problem_headers(problem, request.header(b"accept"))
    if problem.status == 413:
        more.append((b"connection", b"close"))
    await send_response(send, problem.status, body, headers=[*headers, *more])
