"""/v1/accounts: the customers of the installation, for its operator."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Response
from fastapi import Request as Incoming

from services.ingest.api.administration.accounts import (
    AccountResource,
    CreateAccountRequest,
    SuspendAccountRequest,
    UpdateAccountRequest,
)
from services.ingest.api.administration.views import account_to_json
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

decode_creation = msgspec.json.Decoder(CreateAccountRequest).decode
decode_update = msgspec.json.Decoder(UpdateAccountRequest).decode
decode_suspension = msgspec.json.Decoder(SuspendAccountRequest).decode


def routes(access: RestAccess, accounts: AccountResource) -> APIRouter:
    router = APIRouter(prefix="/v1/accounts", tags=["accounts"], responses=PROBLEM_RESPONSES)

    @router.post(
        "",
        status_code=201,
        openapi_extra=body_schema(CreateAccountRequest, "an account"),
        summary="Create an account",
    )
    async def create(incoming: Incoming) -> Response:
        caller = await access.authenticate_caller(incoming)
        given = await decode_creation_body(incoming, decode_creation)
        return json_response(account_to_json(await accounts.create(caller, given)), 201)

    @router.get("", summary="List the accounts")
    async def list_accounts(
        incoming: Incoming,
        *,
        requested_page: RequestedPage,
        name: Annotated[str, Query(description="Only accounts of this name")] = "",
    ) -> Response:
        """Newest first."""
        await access.authenticate_caller(incoming)
        found, has_more = await accounts.page(page_of(requested_page), name=name)
        return list_response(map(account_to_json, found), has_more=has_more)

    @router.get("/{account_id}", summary="Get an account")
    async def get(incoming: Incoming, account_id: str) -> Response:
        """An account key can get its own account."""
        caller = await access.authenticate_caller(incoming)
        return json_response(account_to_json(await accounts.get(caller, account_id)))

    _add_changes(router, access, accounts)
    return router


def _add_changes(router: APIRouter, access: RestAccess, accounts: AccountResource) -> None:
    @router.patch(
        "/{account_id}",
        openapi_extra=body_schema(UpdateAccountRequest, "the changes"),
        summary="Change an account",
    )
    async def update(incoming: Incoming, account_id: str) -> Response:
        caller = await access.authenticate_caller(incoming)
        given = await decode_request_body(incoming, decode_update)
        return json_response(account_to_json(await accounts.update(caller, account_id, given)))

    @router.delete("/{account_id}", summary="Close an account")
    async def delete(incoming: Incoming, account_id: str) -> Response:
        """Only without tenants; otherwise 409 `account_in_use`. Its keys stop working."""
        caller = await access.authenticate_caller(incoming)
        deleted = await accounts.delete(caller, account_id)
        return deleted_response("account", deleted.account_id)

    @router.post(
        "/{account_id}/suspend",
        openapi_extra=body_schema(SuspendAccountRequest, "the reason", required=False),
        summary="Refuse the live mail of an account",
    )
    async def suspend(incoming: Incoming, account_id: str) -> Response:
        """Sends are refused with 403 `account_suspended`. Test keys still work."""
        caller = await access.authenticate_caller(incoming)
        given = await decode_optional_body(incoming, decode_suspension)
        return json_response(
            account_to_json(await accounts.suspend(caller, account_id, given.reason))
        )

    @router.post("/{account_id}/resume", summary="Accept the live mail of an account again")
    async def resume(incoming: Incoming, account_id: str) -> Response:
        caller = await access.authenticate_caller(incoming)
        return json_response(account_to_json(await accounts.resume(caller, account_id)))
