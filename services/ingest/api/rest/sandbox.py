"""/v1/sandbox/messages: mail sent with test keys, as the sandbox received it."""

from base64 import b64encode
from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi import Request as Incoming

from services.ingest.api.rest_base import (
    PROBLEM_RESPONSES,
    RequestedPage,
    RestAccess,
    json_response,
    list_response,
    page_of,
)
from services.ingest.api.sandbox import SandboxResource, to_json


def routes(access: RestAccess, sandbox: SandboxResource) -> APIRouter:
    router = APIRouter(prefix="/v1/sandbox/messages", tags=["sandbox"], responses=PROBLEM_RESPONSES)

    @router.get("", summary="List the messages that the sandbox received")
    async def list_messages(
        incoming: Incoming,
        *,
        requested_page: RequestedPage,
        recipient: Annotated[str, Query(max_length=400)] = "",
    ) -> Response:
        principal = await access.authenticate(incoming)
        page = page_of(requested_page)
        found, has_more = await sandbox.page(principal, page, recipient=recipient)
        return list_response(map(to_json, found), has_more=has_more)

    @router.get("/{message_id}", summary="Get a message, with its raw form in base64")
    async def get(incoming: Incoming, message_id: str) -> Response:
        principal = await access.authenticate(incoming)
        found = await sandbox.get(principal, message_id)
        return json_response({**to_json(found), "raw": b64encode(found.raw).decode("ascii")})

    @router.get("/{message_id}/raw", summary="Get a message as received over SMTP")
    async def get_raw(incoming: Incoming, message_id: str) -> Response:
        principal = await access.authenticate(incoming)
        found = await sandbox.get(principal, message_id)
        return Response(found.raw, media_type="message/rfc822")

    return router
