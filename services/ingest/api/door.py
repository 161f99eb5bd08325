"""The HTTP door: the hot POST straight through, everything else by FastAPI."""

import logging
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, TypeAlias

from kernel import auth, clock, metrics
from services.ingest.api import answers
from services.ingest.api.compression import compressing
from services.ingest.api.gate import Gate, within
from services.ingest.api.http import (
    Disconnected,
    Receive,
    Request,
    Scope,
    Send,
    accepted,
    answer,
)
from services.ingest.api.sending import Sending
from services.ingest.domain.problem import Problem

App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]
EMAILS = "/v1/emails"

observe = metrics.accept_seconds.labels("rest").observe
logger = logging.getLogger(__name__)


class Door:
    """An ASGI application. Everything that leaves it is JSON with a request id."""

    def __init__(self, gate: Gate, sending: Sending, others: App) -> None:
        self._gate = gate
        self._sending = sending
        self._others = others

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        # RFC 9110 §9.3.2: as GET; the listener, which knows better, sends no body.
        head = scope["method"] == "HEAD"
        request = Request({**scope, "method": "GET"} if head else scope)
        post = scope["path"] == EMAILS and scope["method"] == "POST"
        try:
            await (self._post_email if post else self._pass_on)(request, receive, send)
        finally:
            if request.held is not None:
                request.held.close()

    async def _post_email(self, request: Request, receive: Receive, send: Send) -> None:
        began = clock.monotonic_s()
        headers: answers.Headers = [(b"x-request-id", request.id.encode())]
        try:
            caller, quota = await self._gate.admit(
                request.header(b"authorization"), request.client, scope=auth.SENDING_ACCESS
            )
            headers += answers.quota_headers(quota)
            within(quota)
            request.held = self._gate.bodies.of(caller.tenant_id)
            body, more = await self._sending.send_one(request, caller, receive)
            await accepted(request, send, body, headers=[*headers, *more])
        except Problem as problem:
            await refuse(request, send, problem, headers=headers)
        except Disconnected:
            return
        except Exception:
            logger.exception("request.failed", extra={"request_id": request.id})
            await refuse(request, send, failed(), headers=headers)
        observe(clock.monotonic_s() - began)

    async def _pass_on(self, request: Request, receive: Receive, send: Send) -> None:
        extra: answers.Headers = [(b"x-request-id", request.id.encode())]
        request.scope.setdefault("state", {})["obm_request"] = request
        request.scope["state"]["obm_headers"] = extra
        began = False

        async def send_more(message: MutableMapping[str, Any]) -> None:
            nonlocal began
            if message["type"] == "http.response.start":
                began = True
                message["headers"] = [*message["headers"], *extra]
            await send(message)

        try:
            await self._others(
                request.scope, receive, compressing(send_more, request.header(b"accept-encoding"))
            )
        except Disconnected:
            return
        except Exception:
            logger.exception("request.failed", extra={"request_id": request.id})
            if not began:
                await refuse(request, send, failed(), headers=extra)


def failed() -> Problem:
    return Problem(500, "application_error", detail="something broke on our side")


async def refuse(
    request: Request, send: Send, problem: Problem, *, headers: answers.Headers
) -> None:
    body = answers.problem_body(problem, path=request.path, request_id=request.id)
    more = answers.problem_headers(problem, request.header(b"accept"))
    if problem.status == 413:
        more.append((b"connection", b"close"))
    await answer(send, problem.status, body, headers=[*headers, *more])
