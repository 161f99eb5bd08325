"""The API of this installation, as a client: for mail of its own (TLS reports, mail to people)."""

from base64 import b64encode

import msgspec

from kernel.dial import Dialer
from kernel.http_post import post

USER_AGENT = "TLS-RPT/1"
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
            "User-Agent": USER_AGENT,
            "Content-Type": "application/json",
            "Authorization": f"Bearer {self._key}",
            "Idempotency-Key": idempotency_key[:KEY_MAX],
        }
        url = f"{self._url}/emails"
        await post(self._dialer, url, msgspec.json.encode(body), fields=fields)

    async def close(self) -> None:
        await self._dialer.close()
