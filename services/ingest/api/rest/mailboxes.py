"""/v1/mailboxes: usernames and passwords for SMTP submission. Only the responses to create and
rotate contain a password."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Response
from fastapi import Request as Incoming

from services.ingest.api.administration.mailboxes import (
    CreateMailboxRequest,
    MailboxBatch,
    MailboxResource,
    MailboxWithPassword,
    RotateMailboxRequest,
    UpdateMailboxRequest,
)
from services.ingest.api.administration.views import mailbox_to_json, mailboxes_to_json
from services.ingest.api.rest_base import (
    PROBLEM_RESPONSES,
    RequestedPage,
    RestAccess,
    body_schema,
    decode_creation_body,
    decode_optional_body,
    decode_request_body,
    deleted_response,
    json_response,
    list_response,
    page_of,
)

decode_creation = msgspec.json.Decoder(CreateMailboxRequest).decode
decode_batch = msgspec.json.Decoder(MailboxBatch).decode
decode_update = msgspec.json.Decoder(UpdateMailboxRequest).decode
decode_rotation = msgspec.json.Decoder(RotateMailboxRequest).decode


def routes(access: RestAccess, mailboxes: MailboxResource) -> APIRouter:
    router = APIRouter(prefix="/v1/mailboxes", tags=["mailboxes"], responses=PROBLEM_RESPONSES)
    _add_creation(router, access, mailboxes)
    _add_lists(router, access, mailboxes)
    _add_changes(router, access, mailboxes)
    _add_rotation(router, access, mailboxes)
    return router


def _add_creation(router: APIRouter, access: RestAccess, mailboxes: MailboxResource) -> None:
    @router.post(
        "",
        status_code=201,
        openapi_extra=body_schema(CreateMailboxRequest, "a mailbox"),
        summary="Create a mailbox",
    )
    async def create(incoming: Incoming) -> Response:
        """`password` is not stored and cannot be retrieved later. The username is the address."""
        caller = await access.authenticate_caller(incoming)
        given = await decode_creation_body(incoming, decode_creation)
        [new] = await mailboxes.create(caller, [given])
        return json_response(created_to_json(new, mailboxes), 201)

    @router.post(
        "/batch",
        status_code=201,
        openapi_extra=body_schema(MailboxBatch, "mailboxes"),
        summary="Create many mailboxes",
    )
    async def create_batch(incoming: Incoming) -> Response:
        """All are created, in the order of the request, or none."""
        caller = await access.authenticate_caller(incoming)
        given = await decode_creation_body(incoming, decode_batch)
        made = await mailboxes.create(caller, given, pointer="#/{}/address")
        return json_response(
            {"object": "list", "data": [created_to_json(one, mailboxes) for one in made]}, 201
        )


def _add_lists(router: APIRouter, access: RestAccess, mailboxes: MailboxResource) -> None:
    @router.get("", summary="List the mailboxes of the tenant or the account")
    async def list_mailboxes(
        incoming: Incoming,
        *,
        requested_page: RequestedPage,
        address: Annotated[str, Query(max_length=320, description="Only this one")] = "",
    ) -> Response:
        """Newest first. A test key lists test mailboxes only."""
        caller = await access.authenticate_caller(incoming)
        found, has_more = await mailboxes.page(caller, page_of(requested_page), address=address)
        shown = await mailboxes_to_json(mailboxes, caller, found)
        return list_response(shown, has_more=has_more)

    @router.get("/{mailbox_id}", summary="Get a mailbox")
    async def get(incoming: Incoming, mailbox_id: str) -> Response:
        caller = await access.authenticate_caller(incoming)
        found = await mailboxes.get(caller, mailbox_id)
        [shown] = await mailboxes_to_json(mailboxes, caller, [found])
        return json_response(shown)


def _add_changes(router: APIRouter, access: RestAccess, mailboxes: MailboxResource) -> None:
    @router.patch(
        "/{mailbox_id}",
        openapi_extra=body_schema(UpdateMailboxRequest, "fields to change"),
        summary="Change or pause a mailbox",
    )
    async def update(incoming: Incoming, mailbox_id: str) -> Response:
        """In force within a second, in open sessions too."""
        caller = await access.authenticate_caller(incoming)
        given = await decode_request_body(incoming, decode_update)
        changed = await mailboxes.update(caller, mailbox_id, given)
        [shown] = await mailboxes_to_json(mailboxes, caller, [changed])
        return json_response(shown)

    @router.delete("/{mailbox_id}", summary="Delete a mailbox")
    async def delete(incoming: Incoming, mailbox_id: str) -> Response:
        """Its logins and its open sessions are refused within a second. What it has sent is still
        delivered."""
        caller = await access.authenticate_caller(incoming)
        deleted = await mailboxes.delete(caller, mailbox_id)
        return deleted_response("mailbox", deleted.mailbox_id)


def _add_rotation(router: APIRouter, access: RestAccess, mailboxes: MailboxResource) -> None:
    @router.post(
        "/{mailbox_id}/rotate",
        openapi_extra=body_schema(RotateMailboxRequest, "the grace time", required=False),
        summary="Replace the password of a mailbox",
    )
    async def rotate(incoming: Incoming, mailbox_id: str) -> Response:
        """The old password still works for `grace_s`. 409 `rotation_in_progress` while it does,
        unless `force`."""
        caller = await access.authenticate_caller(incoming)
        given = await decode_optional_body(incoming, decode_rotation)
        new = await mailboxes.rotate(caller, mailbox_id, given)
        return json_response(created_to_json(new, mailboxes))


def created_to_json(new: MailboxWithPassword, mailboxes: MailboxResource) -> dict[str, object]:
    return {
        **mailbox_to_json(new.mailbox, mailboxes.smtp_of(new.mailbox)),
        "password": new.password,
    }
