"""Responses compressed with gzip for clients that accept it (RFC 9110 §12.5.3)."""

import gzip
from collections.abc import MutableMapping
from typing import Any

from kernel.http_server import Send

# A smaller body gains nothing; a larger one would block the event loop.
OCTETS = range(1024, 512 * 1024)
LEVEL = 4
VARY = (b"vary", b"accept-encoding")
ENCODED = (b"content-encoding", b"gzip")


def compress_responses(send: Send, accept_encoding: str) -> Send:
    """Delay the response headers until the body is complete; a body in several parts is not
    compressed."""
    head: MutableMapping[str, Any] | None = None

    async def send_on(message: MutableMapping[str, Any]) -> None:
        nonlocal head
        if message["type"] == "http.response.start":
            head = message
            return
        if head is not None:
            pending, head = head, None
            if not message.get("more_body") and len(message.get("body", b"")) in OCTETS:
                pending["headers"] = [*pending["headers"], VARY]
                if accepts_gzip(accept_encoding):
                    _compress(pending, message)
            await send(pending)
        await send(message)

    return send_on


def accepts_gzip(accept_encoding: str) -> bool:
    """True if the client names gzip or * with a quality above 0."""
    for item in accept_encoding.lower().split(","):
        name, _, quality = item.replace(" ", "").partition(";")
        if name in {"gzip", "*"}:
            return quality.removeprefix("q=").strip("0.") != "" or quality == ""
    return False


def _compress(head: MutableMapping[str, Any], message: MutableMapping[str, Any]) -> None:
    message["body"] = gzip.compress(message["body"], LEVEL, mtime=0)
    length = (b"content-length", b"%d" % len(message["body"]))
    fields = [field for field in head["headers"] if field[0] != b"content-length"]
    head["headers"] = [*fields, length, ENCODED]
