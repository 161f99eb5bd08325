"""The API of this installation, as a client: for mail of its own (TLS reports, mail to people)."""

from base64 import b64encode

import msgspec

from kernel.dial import Dialer, parse_url_target
from kernel.http_connection import HttpConnection

KEY_MAX = 256  # characters of an idempotency key


class EmailApi:
    """url: with /v1. key: of the tenant whose mail it is."""

    def __init__(self, dialer: Dialer, url: str, key: str) -> None:
        self._dialer = dialer
        self._url = url
        self._key = key

    async def send(self, raw: bytes, *, to: str, tag: str, idempotency_key: str) -> None:
        """Send a message, once by its key; it is durable when this returns. Raises OSError, or
        ValueError if the API refuses it."""
        body = {"raw": b64encode(raw).decode(), "to": to, "tags": [{"name": tag}]}
        fields = {
            "Content-Type": "application/json",
            "Authorization": f"Bearer {self._key}",
            "Idempotency-Key": idempotency_key[:KEY_MAX],
        }
        url = f"{self._url}/emails"
        await post(self._dialer, url, msgspec.json.encode(body), fields=fields)

    async def close(self) -> None:
        await self._dialer.close()


async def post(dialer: Dialer, url: str, body: bytes, *, fields: dict[str, str]) -> None:
    """Raises OSError, or ValueError unless the response is 2xx."""
    target = parse_url_target(url)
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    start = f"POST {target.path} HTTP/1.1\r\nHost: {target.authority}\r\nUser-Agent: TLS-RPT/1\r\n"
    head = f"{start}{lines}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    connection = await dialer.connect(target, HttpConnection)
    try:
        response = await connection.send(head.encode() + body)
    finally:
        connection.close()
    if not 200 <= response.status < 300:
        raise ValueError(f"HTTP {response.status}")
