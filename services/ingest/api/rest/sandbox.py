"""/v1/sandbox/messages: what test keys have sent, as the sandbox's mail server took it."""

from base64 import b64encode
from typing import Annotated

from fastapi import APIRouter, Depends, Query, Response
from fastapi import Request as Incoming

from contracts.delivery.v1.delivery_service_pb2 import (
    GetSandboxMessageRequest,
    ListSandboxMessagesRequest,
    SandboxMessage,
)
from services.ingest.api.gate import Caller
from services.ingest.api.resource import (
    PROBLEMS,
    Admission,
    Page,
    known_id,
    listed,
    moment,
    page,
    said,
)
from services.ingest.clients import Others


def routes(admission: Admission, others: Others) -> APIRouter:
    router = APIRouter(prefix="/v1/sandbox/messages", tags=["sandbox"], responses=PROBLEMS)
    asked = others.delivery

    async def find(caller: Caller, message_id: str) -> SandboxMessage:
        known = known_id(message_id, "the sandbox message")
        request = GetSandboxMessageRequest(tenant_id=caller.tenant_id, id=known)
        answer = await asked.ask(asked.stub.GetSandboxMessage, request, deadline_s=2.0)
        return answer.message

    @router.get("", summary="List what the sandbox received")
    async def list_messages(
        incoming: Incoming,
        *,
        which: Annotated[Page, Depends(page)],
        recipient: Annotated[str, Query(max_length=400)] = "",
    ) -> Response:
        caller = await admission.caller(incoming)
        request = ListSandboxMessagesRequest(
            tenant_id=caller.tenant_id, limit=which.limit, after=which.after,
            before=which.before, recipient=recipient,
        )  # fmt: skip
        answer = await asked.ask(asked.stub.ListSandboxMessages, request)
        return listed(map(shown, answer.messages), has_more=answer.has_more)

    @router.get("/{message_id}", summary="One message, as it came over SMTP, in base64")
    async def get(incoming: Incoming, message_id: str) -> Response:
        caller = await admission.caller(incoming)
        found = await find(caller, message_id)
        return said({**shown(found), "raw": b64encode(found.raw).decode("ascii")})

    @router.get("/{message_id}/raw", summary="One message, as it came over SMTP")
    async def get_raw(incoming: Incoming, message_id: str) -> Response:
        caller = await admission.caller(incoming)
        found = await find(caller, message_id)
        return Response(found.raw, media_type="message/rfc822")

    return router


def shown(message: SandboxMessage) -> dict[str, object]:
    return {
        "object": "sandbox_message",
        "id": message.id,
        "message_id": message.message_id or None,
        "email_id": message.email_id or None,
        "mail_from": message.mail_from,
        "recipient": message.recipient,
        "subject": message.subject,
        "bytes": message.bytes,
        "answer": message.answer,
        "received_at": moment(message.received_at),
    }
