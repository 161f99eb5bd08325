"""/v1/api-keys: the keys of tenants, accounts and operators. Only the responses to create and
rotate contain the secret."""

from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from fastapi import APIRouter, Query, Response
from fastapi import Request as Incoming

from contracts.ingest.v1.directory_pb2 import ApiKey
from kernel.ids import time_of
from services.ingest.api.administration.api_keys import (
    ApiKeys,
    CreateApiKeyRequest,
    RotateApiKeyRequest,
    UpdateApiKeyRequest,
)
from services.ingest.api.callers import kind_of
from services.ingest.api.rest_base import (
    PROBLEM_RESPONSES,
    RequestedPage,
    RestAccess,
    body_schema,
    decode_creation_body,
    decode_optional_body,
    decode_request_body,
    deleted_response,
    format_time,
    format_timestamp,
    json_response,
    list_response,
    page_of,
    request_of,
)

decode_creation = msgspec.json.Decoder(CreateApiKeyRequest).decode
decode_update = msgspec.json.Decoder(UpdateApiKeyRequest).decode
decode_rotation = msgspec.json.Decoder(RotateApiKeyRequest).decode


def routes(access: RestAccess, keys: ApiKeys) -> APIRouter:
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
        brand = request_of(incoming).brand
        secret, key = await keys.create(caller, given, brand=brand)
        return json_response({**to_json(key), "token": secret}, 201)

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
        shown = [to_json(key, used.get(key.key_id)) for key in found]
        return list_response(shown, has_more=has_more)

    _add_changes(router, access, keys)
    return router


def _add_changes(router: APIRouter, access: RestAccess, keys: ApiKeys) -> None:
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
        return json_response(to_json(key, used.get(key.key_id)))

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
        return json_response({**to_json(key), "token": secret}, 201)


def to_json(key: ApiKey, last_used_at: datetime | None = None) -> dict[str, object]:
    return {
        "object": "api_key",
        "id": key.key_id,
        "name": key.name,
        "kind": kind_of(key).value,
        "account_id": key.account_id or None,
        "tenant_id": key.tenant_id or None,
        "prefix": key.prefix or None,
        "permission": next(iter(key.scopes), None),
        "domain_id": key.domain_id or None,
        "cidrs": list(key.cidrs),
        "expires_at": format_timestamp(key.expires_at),
        "last_used_at": format_time(last_used_at) if last_used_at is not None else None,
        "rotated_from": key.rotated_from or None,
        "test": key.test,
        "created_at": format_time(time_of(UUID(key.key_id))),
    }
