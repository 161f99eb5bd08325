"""/v1/sandbox/messages: mail sent with test keys, as the sandbox received it."""

from base64 import b64encode
from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi import Request as Incoming

from contracts.delivery.v1.delivery_service_pb2 import (
    GetSandboxMessageRequest,
    ListSandboxMessagesRequest,
    SandboxMessage,
)
from services.ingest.api.access import Principal
from services.ingest.api.rest_base import (
    PROBLEM_RESPONSES,
    RequestedPage,
    RestAccess,
    format_timestamp,
    json_response,
    list_response,
    parse_id,
)
from services.ingest.clients import ServiceClients


def routes(access: RestAccess, clients: ServiceClients) -> APIRouter:
    router = APIRouter(prefix="/v1/sandbox/messages", tags=["sandbox"], responses=PROBLEM_RESPONSES)
    client = clients.delivery

    async def find(principal: Principal, message_id: str) -> SandboxMessage:
        identifier = parse_id(message_id, "the sandbox message")
        request = GetSandboxMessageRequest(tenant_id=principal.tenant_id, id=identifier)
        response = await client.call(client.stub.GetSandboxMessage, request, deadline_s=2.0)
        return response.message

    @router.get("", summary="List the messages that the sandbox received")
    async def list_messages(
        incoming: Incoming,
        *,
        requested_page: RequestedPage,
        recipient: Annotated[str, Query(max_length=400)] = "",
    ) -> Response:
        principal = await access.authenticate(incoming)
        request = ListSandboxMessagesRequest(
            tenant_id=principal.tenant_id, limit=requested_page.limit, after=requested_page.after,
            before=requested_page.before, recipient=recipient,
        )  # fmt: skip
        response = await client.call(client.stub.ListSandboxMessages, request)
        return list_response(map(to_json, response.messages), has_more=response.has_more)

    @router.get("/{message_id}", summary="Get a message, with its raw form in base64")
    async def get(incoming: Incoming, message_id: str) -> Response:
        principal = await access.authenticate(incoming)
        found = await find(principal, message_id)
        return json_response({**to_json(found), "raw": b64encode(found.raw).decode("ascii")})

    @router.get("/{message_id}/raw", summary="Get a message as received over SMTP")
    async def get_raw(incoming: Incoming, message_id: str) -> Response:
        principal = await access.authenticate(incoming)
        found = await find(principal, message_id)
        return Response(found.raw, media_type="message/rfc822")

    return router


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
