"""Sends mail to accounts, as notices and reports, through the API of this installation."""

import asyncio
from collections.abc import Mapping

import msgspec

from kernel.dial import Dialer
from kernel.http_post import post
from services.events.domain.webhook_notice import DisabledEndpoint, notice_of

TIMEOUT_S = 30.0


class AccountMailSender:
    """url: with /v1. key: of a tenant with the domain of the sender, which is `address`."""

    def __init__(self, dialer: Dialer, url: str, key: str, *, sender: str) -> None:
        self._dialer = dialer
        self._url = f"{url}/emails"
        self._key = key
        self.address = sender

    async def send(self, endpoint: DisabledEndpoint, *, to: str) -> None:
        """Like send_mail."""
        await self.send_mail(
            notice_of(endpoint, sender=self.address, to=to), key=endpoint.notice_key
        )

    async def send_mail(self, mail: Mapping[str, object], *, key: str) -> None:
        """It is durable when this returns; a repeat with the same key is sent once. Raises OSError,
        or ValueError if the API refuses it."""
        body = msgspec.json.encode(mail)
        fields = {
            "Content-Type": "application/json",
            "Authorization": f"Bearer {self._key}",
            "Idempotency-Key": key,
        }
        async with asyncio.timeout(TIMEOUT_S):
            await post(self._dialer, self._url, body, fields=fields)

    async def close(self) -> None:
        await self._dialer.close()
