"""The ASGI application of links in mail: `/c/TOKEN`, `/o/TOKEN.gif` and `/u/TOKEN`."""

import logging
from base64 import b64decode
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

from kernel import clock
from kernel.brand import Brand
from kernel.http_server import Receive, Scope, Send
from mail import tracking, unsubscribe
from mail.tracking import TrackingMode
from services.events.api.tracking import pages
from services.events.api.tracking.hosts import LinkHostRegistry
from services.events.api.tracking.recorder import HitRecorder
from services.events.domain.hit import ClientAnonymizer, HitKind, RecordedHit, RequestClient

BODY_MAX = 64 * 1024
PIXEL = b64decode("R0lGODlhAQABAIAAAP///wAAACH5BAEAAAAALAAAAAABAAEAAAICRAEAOw==")
Headers: TypeAlias = list[tuple[bytes, bytes]]
ALWAYS: Headers = [
    (b"cache-control", b"no-store"),
    (b"referrer-policy", b"no-referrer"),
    (b"x-content-type-options", b"nosniff"),
    (b"x-robots-tag", b"noindex"),
]
HTML = (b"content-type", b"text/html; charset=utf-8")
GONE = "This link is not valid", "It may be cut off or changed. Open it from the message again."
MISDIRECTED = "Wrong host", "No link in mail leads to this host."
BUSY = "Not saved", "We could not save that you unsubscribe. Try again in a minute."
INVALID = "Not understood", "Open the link from the message, and press Unsubscribe."
METHOD = "Not allowed", "This address has nothing for that kind of request."

logger = logging.getLogger(__name__)


class TrackingResponse(NamedTuple):
    status: int
    body: bytes = b""
    headers: Sequence[tuple[bytes, bytes]] = ()


@dataclass(frozen=True, slots=True)
class TrackingRequest:
    """token: from the path. content_type, body: of POST."""

    token: str
    method: str
    client: RequestClient
    brand: Brand
    content_type: str = ""
    body: bytes = b""


Handle: TypeAlias = Callable[[TrackingRequest], Awaitable[TrackingResponse]]
READ = frozenset(("GET", "HEAD"))


class TrackingApp:
    """keys: those of which any may have signed a token."""

    def __init__(
        self,
        keys: Sequence[bytes],
        recorder: HitRecorder,
        clients: ClientAnonymizer,
        *,
        hosts: LinkHostRegistry,
    ) -> None:
        self._keys = keys
        self._recorder = recorder
        self._clients = clients
        self._hosts = hosts
        self._routes: dict[str, tuple[Handle, frozenset[str]]] = {
            "c": (self._click, READ),
            "o": (self._open, READ),
            "u": (self._unsubscribe, READ | {"POST"}),
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers = dict(scope["headers"])
        answer = await self._answer(scope, headers, receive)
        fields = [*ALWAYS, *answer.headers, (b"content-length", b"%d" % len(answer.body))]
        await send({"type": "http.response.start", "status": answer.status, "headers": fields})
        await send({"type": "http.response.body", "body": answer.body})

    async def _answer(
        self, scope: Scope, headers: dict[bytes, bytes], receive: Receive
    ) -> TrackingResponse:
        host = headers.get(b"host", b"").decode("latin-1")
        brand = self._hosts.brand_of(host)
        if self._hosts.refuses(host):
            return _problem(421, MISDIRECTED, brand)
        if scope["path"] == "/robots.txt":
            return TrackingResponse(
                200, b"User-agent: *\nDisallow: /\n", [(b"content-type", b"text/plain")]
            )
        _, _, path = scope["path"].partition("/")
        name, _, token = path.partition("/")
        handle, methods = self._routes.get(name, (None, frozenset[str]()))
        if handle is None or not token:
            return _problem(404, GONE, brand)
        if scope["method"] not in methods:
            allowed = (b"allow", ", ".join(sorted(methods)).encode())
            return _problem(405, METHOD, brand, headers=[allowed])
        body = await _read_body(receive) if scope["method"] == "POST" else b""
        if body is None:
            return _problem(413, INVALID, brand)
        client = RequestClient(
            scope["client"][0] if scope.get("client") else "",
            headers.get(b"user-agent", b"").decode("latin-1"),
            scope["method"],
        )
        kind = headers.get(b"content-type", b"").decode("latin-1")
        return await handle(TrackingRequest(token, scope["method"], client, brand, kind, body))

    async def _click(self, request: TrackingRequest) -> TrackingResponse:
        click = tracking.read_click(request.token, self._keys)
        if click is None:
            return _problem(404, GONE, request.brand)
        hit = _hit(HitKind.CLICK, click, target=click.url)
        await self._recorder.record(self._clients.reduce(hit, request.client))
        return TrackingResponse(
            302, b"", [(b"location", tracking.redirect_location(click).encode())]
        )

    async def _open(self, request: TrackingRequest) -> TrackingResponse:
        opened = tracking.read_open(request.token.removesuffix(".gif"), self._keys)
        if opened is None:
            return _problem(404, GONE, request.brand)
        hit = _hit(HitKind.OPEN, opened)
        await self._recorder.record(self._clients.reduce(hit, request.client))
        return TrackingResponse(200, PIXEL, [(b"content-type", b"image/gif")])

    async def _unsubscribe(self, request: TrackingRequest) -> TrackingResponse:
        subscription = unsubscribe.verify(request.token, self._keys)
        if subscription is None:
            return _problem(404, GONE, request.brand)
        if request.method in READ:
            return _page(200, pages.unsubscribe_page(subscription, request.brand), request.brand)
        one_click = unsubscribe.is_one_click(request.content_type, request.body)
        if not one_click and request.body.strip() != pages.CONFIRMED:
            return _problem(400, INVALID, request.brand)
        hit = RecordedHit(
            HitKind.UNSUBSCRIBE,
            TrackingMode.IDENTIFIED,
            str(subscription.tenant_id),
            str(subscription.message_id),
            clock.now_ms(),
            target=subscription.list_name,
            method="one_click" if one_click else "page",
            recipient=subscription.recipient,
            test=subscription.test,
        )
        if not await self._recorder.record(hit):
            return _problem(503, BUSY, request.brand, headers=[(b"retry-after", b"60")])
        return _page(200, pages.unsubscribed_page(request.brand), request.brand)


def _hit(
    kind: HitKind, named: tracking.Click | tracking.PixelOpen, *, target: str = ""
) -> RecordedHit:
    return RecordedHit(
        kind, named.mode, str(named.tenant_id), str(named.message_id), clock.now_ms(), target=target
    )


def _page(
    status: int, body: bytes, brand: Brand, *, headers: Sequence[tuple[bytes, bytes]] = ()
) -> TrackingResponse:
    policy = (b"content-security-policy", pages.content_policy(brand))
    return TrackingResponse(status, body, [HTML, policy, *headers])


def _problem(
    status: int,
    words: tuple[str, str],
    brand: Brand,
    *,
    headers: Sequence[tuple[bytes, bytes]] = (),
) -> TrackingResponse:
    return _page(status, pages.problem_page(*words, brand), brand, headers=headers)


async def _read_body(receive: Receive) -> bytes | None:
    """None if it is too large, or the client is gone."""
    chunks, total, more = [], 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        chunks.append(message.get("body", b""))
        total += len(chunks[-1])
        more = message.get("more_body", False)
        if total > BODY_MAX:
            return None
    return b"".join(chunks)
