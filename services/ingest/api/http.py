"""ASGI requests and responses: headers by name, bounded bodies, responses in one write."""

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, MutableMapping, Sequence
from typing import Any

from kernel.brand import Brand, Brands
from kernel.http_server import RESPONSE_EXTENSION, Receive, Scope, Send
from kernel.ids import random_octets
from kernel.telemetry import traceparent_or_new
from services.ingest.domain.body_memory import BodyReservation
from services.ingest.domain.problem import Problem
from services.ingest.domain.request_log import BODY_BYTES_MAX as BODY_BYTES_LOGGED

BODY_BYTES_MAX = 40 * 1024 * 1024
BATCH_BYTES_MAX = 50 * 1024 * 1024
# a refused body is read up to this size, so that the client reads its 413
DISCARD_BYTES_MAX = 256 * 1024 * 1024
DISCARD_S = 30.0

_IDEMPOTENCY_KEY = re.compile(r"[\x20-\x7e]{1,256}")


def new_request_id() -> str:
    return f"req_{random_octets(12).hex()}"


class ClientDisconnected(Exception):
    """The client disconnected before its request was complete."""


class Request:
    """An HTTP request. reservation: memory of its body, once the tenant is known. is_head: it is
    handled as GET, but its response has no body. For the log of requests: asker: a Caller or a
    Principal, once it is known; body: if it is short; refusal: the body of a response 4xx."""

    __slots__ = (
        "_brands", "_headers", "asker", "body", "client", "id", "is_head", "path", "refusal",
        "reservation", "scope",
    )  # fmt: skip

    def __init__(self, scope: Scope, brands: Brands) -> None:
        self.is_head = scope.get("method") == "HEAD"
        self.scope = scope = {**scope, "method": "GET"} if self.is_head else scope
        self._headers: dict[bytes, bytes] = dict(scope["headers"])
        self.path: str = scope["path"]
        self.id = new_request_id()
        self.client: str = scope["client"][0] if scope.get("client") else ""
        self.reservation: BodyReservation | None = None
        self.asker: Any = None
        self.body = self.refusal = b""
        self._brands = brands

    def header(self, name: bytes) -> str:
        return self._headers.get(name, b"").decode("latin-1")

    def named_tenant(self) -> str:
        """The tenant that an account key names."""
        return self.header(b"x-tenant-id").strip()

    @property
    def brand(self) -> Brand:
        """That of the request's host."""
        return self._brands.of_host(self.header(b"host"))

    @property
    def issuing_brand(self) -> Brand:
        """The same for what is handed out, such as keys: the default where no brand is named."""
        return self._brands.find_host(self.header(b"host")) or self._brands.default

    @property
    def traceparent(self) -> str:
        return traceparent_or_new(self.header(b"traceparent"))

    @property
    def idempotency_key(self) -> str | None:
        """Raises Problem."""
        if b"idempotency-key" not in self._headers:
            return None
        key = self.header(b"idempotency-key")
        if not _IDEMPOTENCY_KEY.fullmatch(key):
            detail = "Invalid Idempotency-Key. Use 1 to 256 printable ASCII characters."
            raise Problem(400, "invalid_idempotency_key", detail=detail)
        return key

    def check_json(self) -> None:
        """Raises Problem if the body is declared as anything but plain JSON."""
        self.check_media_type("application/json", "JSON")

    def check_media_type(self, media_type: str, name: str) -> None:
        """Raises Problem if the body is declared as anything else, or as encoded."""
        if self.header(b"content-encoding").strip().lower() not in {"", "identity"}:
            detail = "The body has a Content-Encoding. Send it without one."
            raise Problem(415, "unsupported_content_encoding", detail=detail)
        given = self.header(b"content-type") or media_type
        if given.partition(";")[0].strip().lower() != media_type:
            detail = f"The body is not declared as {name}. Send it as {media_type}."
            raise Problem(415, "unsupported_media_type", detail=detail)


async def read_body(request: Request, receive: Receive, bytes_max: int = BODY_BYTES_MAX) -> bytes:
    """Read the whole body. Raises Problem 413 if it is too large, and 429 or 503 if the requests in
    progress use too much memory; the part already read is then freed."""
    await _check_declared(request, receive, bytes_max)
    chunks: list[bytes] = []
    total, more = 0, True
    while more:
        message = await _chunk(receive)
        chunks.append(message.get("body", b""))
        total += len(chunks[-1])
        more = message.get("more_body", False)
        try:
            _reserve(request, total, bytes_max)
        except Problem:
            chunks.clear()
            if more:
                await _discard(receive)
            raise
    body = b"".join(chunks)
    if total <= BODY_BYTES_LOGGED:
        request.body = body
    return body


async def pass_body(
    request: Request,
    receive: Receive,
    consume: Callable[[bytes], Awaitable[None]],
    *,
    bytes_max: int,
) -> None:
    """Pass the body on as it arrives, without keeping it. Raises Problem 413 if it is declared to
    be too large, and what consume raises."""
    await _check_declared(request, receive, bytes_max)
    more = True
    while more:
        message = await _chunk(receive)
        more = message.get("more_body", False)
        try:
            await consume(message.get("body", b""))
        except Problem:
            if more:
                await _discard(receive)
            raise


async def _check_declared(request: Request, receive: Receive, bytes_max: int) -> None:
    """Raises Problem 413 by the Content-Length."""
    declared = request.header(b"content-length")
    if declared.isdigit() and int(declared) > bytes_max:
        if b"100-continue" not in request.header(b"expect").encode():
            await _discard(receive)
        raise too_large(bytes_max)


def _reserve(request: Request, octets: int, bytes_max: int) -> None:
    check_size(octets, bytes_max)
    if request.reservation is not None:
        request.reservation.resize(octets)


def check_size(octets: int, bytes_max: int = BODY_BYTES_MAX) -> None:
    """The limit of one email; it holds in a batch and over gRPC too. Raises Problem."""
    if octets > bytes_max:
        raise too_large(bytes_max)


async def _chunk(receive: Receive) -> MutableMapping[str, Any]:
    message = await receive()
    if message["type"] == "http.disconnect":
        raise ClientDisconnected
    return message


async def _discard(receive: Receive) -> None:
    """Read the rest of a body: a client that is still sending would see a broken pipe instead of
    the response."""
    left = DISCARD_BYTES_MAX
    try:
        async with asyncio.timeout(DISCARD_S):
            while left > 0:
                message = await _chunk(receive)
                left -= len(message.get("body", b""))
                if not message.get("more_body"):
                    return
    except TimeoutError:
        return


def too_large(bytes_max: int) -> Problem:
    mega = bytes_max // 1024 // 1024
    detail = f"The request is larger than {f'{mega} MB' if mega else f'{bytes_max // 1024} KB'}."
    return Problem(413, "message_too_large", detail=detail)


async def send_response(
    send: Send, status: int, body: bytes, *, headers: Iterable[tuple[bytes, bytes]]
) -> None:
    fields = [*headers, (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


async def send_accepted(
    request: Request, send: Send, body: bytes, *, headers: Sequence[tuple[bytes, bytes]]
) -> None:
    """Send 202, in one write if the server supports it. headers: none from the client."""
    respond = request.scope.get("extensions", {}).get(RESPONSE_EXTENSION)
    if respond is None or not respond(202, body, headers=headers):
        await send_response(send, 202, body, headers=headers)
