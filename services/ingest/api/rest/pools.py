"""/v1/pools: egress pools. For operators."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Response
from fastapi import Request as Incoming

from services.ingest.api.egress.pools import CreatePoolRequest, PoolResource, UpdatePoolRequest
from services.ingest.api.egress.views import pool_to_json
from services.ingest.api.rest_base import (
    PROBLEM_RESPONSES,
    RequestedForwardPage,
    RestAccess,
    body_schema,
    decode_creation_body,
    decode_request_body,
    deleted_response,
    json_response,
    list_response,
    page_of,
)

decode_pool = msgspec.json.Decoder(CreatePoolRequest).decode
decode_update = msgspec.json.Decoder(UpdatePoolRequest).decode


def routes(access: RestAccess, pools: PoolResource) -> APIRouter:
    router = APIRouter(prefix="/v1/pools", tags=["pools"], responses=PROBLEM_RESPONSES)
    _add_list(router, access, pools)
    _add_changes(router, access, pools)
    return router


def _add_list(router: APIRouter, access: RestAccess, pools: PoolResource) -> None:
    @router.get("", summary="List the egress pools")
    async def list_pools(
        incoming: Incoming,
        *,
        requested_page: RequestedForwardPage,
        name: Annotated[str, Query(description="Only the pool of this name")] = "",
    ) -> Response:
        await access.authenticate_caller(incoming)
        found, has_more = await pools.page(page_of(requested_page), name=name)
        return list_response(map(pool_to_json, found), has_more=has_more)


def _add_changes(router: APIRouter, access: RestAccess, pools: PoolResource) -> None:
    @router.post(
        "",
        status_code=201,
        openapi_extra=body_schema(CreatePoolRequest, "a pool"),
        summary="Create an egress pool",
    )
    async def create(incoming: Incoming) -> Response:
        """With `dedicated`, a pool of this name without a tenant is used again."""
        caller = await access.authenticate_caller(incoming)
        given = await decode_creation_body(incoming, decode_pool)
        return json_response(pool_to_json(await pools.create(caller, given)), 201)

    @router.patch(
        "/{pool_id}",
        openapi_extra=body_schema(UpdatePoolRequest, "changes of a pool"),
        summary="Change an egress pool",
    )
    async def update(incoming: Incoming, pool_id: str) -> Response:
        """Its mail at a site overflows while its own sources cannot send more there. Its feedback
        domain signs mail to sites whose feedback loop knows senders by their DKIM domain."""
        caller = await access.authenticate_caller(incoming)
        given = await decode_request_body(incoming, decode_update)
        return json_response(pool_to_json(await pools.update(caller, pool_id, given)))

    @router.delete("/{pool_id}", summary="Delete an egress pool")
    async def delete(incoming: Incoming, pool_id: str) -> Response:
        """Only without egress sources, and if no other pool overflows to it."""
        caller = await access.authenticate_caller(incoming)
        return deleted_response("pool", await pools.delete(caller, pool_id))
