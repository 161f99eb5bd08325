"""Mail sent with test keys, as the sandbox received it."""

from collections.abc import Sequence

from contracts.delivery.v1.delivery_service_pb2 import (
    GetSandboxMessageRequest,
    ListSandboxMessagesRequest,
    SandboxMessage,
)
from services.ingest.api.access import Principal
from services.ingest.api.administration.directory import parse_id
from services.ingest.api.rest_base import format_timestamp
from services.ingest.clients import ServiceClients
from services.ingest.store.directory_lists import PageBounds


class SandboxResource:
    def __init__(self, clients: ServiceClients) -> None:
        self._delivery = clients.delivery

    async def page(
        self, principal: Principal, page: PageBounds, *, recipient: str
    ) -> tuple[Sequence[SandboxMessage], bool]:
        """Newest first. recipient: only messages to this address."""
        request = ListSandboxMessagesRequest(
            tenant_id=principal.tenant_id, recipient=recipient, **page._asdict()
        )
        response = await self._delivery.call(self._delivery.stub.ListSandboxMessages, request)
        return response.messages, response.has_more

    async def get(self, principal: Principal, message_id: str) -> SandboxMessage:
        """With its raw form. Raises Problem 404."""
        identifier = parse_id(message_id, "the sandbox message")
        request = GetSandboxMessageRequest(tenant_id=principal.tenant_id, id=identifier)
        method = self._delivery.stub.GetSandboxMessage
        return (await self._delivery.call(method, request, deadline_s=2.0)).message


def to_json(message: SandboxMessage) -> dict[str, object]:
    return {
        "object": "sandbox_message",
        "id": message.id,
        "message_id": message.message_id or None,
        "email_id": message.email_id or None,
        "mail_from": message.mail_from,
        "recipient": message.recipient,
        "subject": message.subject,
        "bytes": message.bytes,
        "reply": message.reply,
        "received_at": format_timestamp(message.received_at),
    }
