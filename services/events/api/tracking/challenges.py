"""The ASGI application of challenges over HTTP (ACME, RFC 8555 §8.3), for the port 80 of hosts of
links: everything else is redirected to HTTPS."""

import re

from kernel.brand import without_port
from kernel.http_server import Receive, Scope, Send
from services.events.api.tracking.hosts import LinkHostRegistry

PREFIX = "/.well-known/acme-challenge/"
TOKEN = re.compile(r"[A-Za-z0-9_-]{1,128}")  # RFC 8555 §8.3: base64url


class ChallengeApp:
    """thumbprint: of the account's key. Each process knows it, so each answers for all tokens; only
    who holds the key can have chosen one."""

    def __init__(self, thumbprint: str, hosts: LinkHostRegistry) -> None:
        self._thumbprint = thumbprint
        self._hosts = hosts

    async def __call__(self, scope: Scope, _: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        host = without_port(dict(scope["headers"]).get(b"host", b"").decode("latin-1"))
        status, headers, body = self._answer(scope, host)
        fields = [*headers, (b"content-length", b"%d" % len(body))]
        await send({"type": "http.response.start", "status": status, "headers": fields})
        await send({"type": "http.response.body", "body": body})

    def _answer(self, scope: Scope, host: str) -> tuple[int, list[tuple[bytes, bytes]], bytes]:
        if self._hosts.refuses(host) or not host:
            return 421, [], b""
        path: str = scope["path"]
        if path.startswith(PREFIX):
            token = path.removeprefix(PREFIX)
            if not TOKEN.fullmatch(token):
                return 404, [], b""
            octets = (b"content-type", b"application/octet-stream")
            return 200, [octets], f"{token}.{self._thumbprint}".encode()
        if scope["method"] not in {"GET", "HEAD"}:
            return 404, [], b""
        target = b"https://%b%b" % (host.encode("latin-1"), scope["raw_path"])
        return 308, [(b"location", target)], b""
