"""Client of the operator's mailbox: mail to people is sent there, through the API."""

from hashlib import sha256

from mail import forwarding
from mail.address import Mailbox
from mail.forwarding import Forward
from services.delivery.clients.email_api import EmailApi

TAG = "operator-mail"


class OperatorForwarder:
    """to: the operator's address."""

    def __init__(self, api: EmailApi, *, sender: Mailbox, to: Mailbox) -> None:
        self._api = api
        self._sender = sender
        self._to = to

    async def send(self, mail: Forward) -> None:
        """It is durable when this returns; a repeat is sent once. Raises OSError or ValueError."""
        raw = forwarding.forward(mail, sender=self._sender, to=self._to)
        key = f"{TAG} {sha256(raw).hexdigest()}"
        await self._api.send(raw, to=self._to.address, tag=TAG, idempotency_key=key)

    async def close(self) -> None:
        await self._api.close()
