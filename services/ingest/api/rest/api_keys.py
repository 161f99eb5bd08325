"""/v1/api-keys: the keys of tenants, accounts and operators. Only the responses to create and
rotate contain the secret."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Response
from fastapi import Request as Incoming

from services.ingest.api.administration.api_keys import (
    ApiKeyResource,
    CreateApiKeyRequest,
    RotateApiKeyRequest,
    UpdateApiKeyRequest,
)
from services.ingest.api.administration.views import api_key_to_json
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
    request_of,
)

decode_creation = msgspec.json.Decoder(CreateApiKeyRequest).decode
decode_update = msgspec.json.Decoder(UpdateApiKeyRequest).decode
decode_rotation = msgspec.json.Decoder(RotateApiKeyRequest).decode


def routes(access: RestAccess, keys: ApiKeyResource) -> APIRouter:
    router = APIRouter(prefix="/v1/api-keys", tags=["api-keys"], responses=PROBLEM_RESPONSES)

    @router.post(
        "",
        status_code=201,
        openapi_extra=body_schema(CreateApiKeyRequest, "a key"),
        summary="Create a key",
    )
    async def create(incoming: Incoming) -> Response:
        """`token` is the key. It is not stored and cannot be retrieved later. Without a
        `tenant_id`, an account's new key gets a tenant of its own."""
        caller = await access.authenticate_caller(incoming)
        given = await decode_creation_body(incoming, decode_creation)
        brand = request_of(incoming).issuing_brand
        secret, key = await keys.create(caller, given, brand=brand)
        return json_response({**api_key_to_json(key), "token": secret}, 201)

    @router.get("", summary="List the keys of the tenant or the account")
    async def list_keys(
        incoming: Incoming,
        *,
        requested_page: RequestedPage,
        account_id: Annotated[str, Query(description="For operators: only this account's")] = "",
    ) -> Response:
        """Newest first. A test key lists test keys only."""
        caller = await access.authenticate_caller(incoming)
        found, has_more = await keys.page(caller, page_of(requested_page), account_id=account_id)
        used = await keys.last_used(caller, found)
        shown = [api_key_to_json(key, used.get(key.key_id)) for key in found]
        return list_response(shown, has_more=has_more)

    _add_changes(router, access, keys)
    return router


def _add_changes(router: APIRouter, access: RestAccess, keys: ApiKeyResource) -> None:
    @router.delete("/{key_id}", summary="Delete a key")
    async def delete(incoming: Incoming, key_id: str) -> Response:
        """The key stops working within a second."""
        caller = await access.authenticate_caller(incoming)
        deleted = await keys.delete(caller, key_id)
        return deleted_response("api_key", deleted.key_id)

    @router.patch(
        "/{key_id}",
        openapi_extra=body_schema(UpdateApiKeyRequest, "the new name"),
        summary="Rename a key",
    )
    async def rename(incoming: Incoming, key_id: str) -> Response:
        caller = await access.authenticate_caller(incoming)
        given = await decode_request_body(incoming, decode_update)
        key = await keys.rename(caller, key_id, given)
        used = await keys.last_used(caller, [key])
        return json_response(api_key_to_json(key, used.get(key.key_id)))

    @router.post(
        "/{key_id}/rotate",
        status_code=201,
        openapi_extra=body_schema(RotateApiKeyRequest, "the grace time", required=False),
        summary="Replace a key",
    )
    async def rotate(incoming: Incoming, key_id: str) -> Response:
        """A new key with the same tenant, permission and restrictions, and its `token`. The old one
        still works for `grace_s`. 409 `rotation_in_progress` while it does, unless `force`."""
        caller = await access.authenticate_caller(incoming)
        given = await decode_optional_body(incoming, decode_rotation)
        secret, key = await keys.rotate(caller, key_id, given)
        return json_response({**api_key_to_json(key), "token": secret}, 201)
