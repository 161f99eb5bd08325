"""/v1/brands: the names by which customers know the installation, for its operator."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Response
from fastapi import Request as Incoming

from services.ingest.api.administration.brands import (
    BrandResource,
    CreateBrandRequest,
    UpdateBrandRequest,
)
from services.ingest.api.administration.views import brand_to_json
from services.ingest.api.rest_base import (
    PROBLEM_RESPONSES,
    RequestedPage,
    RestAccess,
    body_schema,
    decode_creation_body,
    decode_request_body,
    deleted_response,
    json_response,
    list_response,
    page_of,
)

decode_creation = msgspec.json.Decoder(CreateBrandRequest).decode
decode_update = msgspec.json.Decoder(UpdateBrandRequest).decode


def routes(access: RestAccess, brands: BrandResource) -> APIRouter:
    router = APIRouter(prefix="/v1/brands", tags=["brands"], responses=PROBLEM_RESPONSES)

    @router.post(
        "",
        status_code=201,
        openapi_extra=body_schema(CreateBrandRequest, "a brand"),
        summary="Create a brand",
    )
    async def create(incoming: Incoming) -> Response:
        """In force within a second. 409 `already_exists` if another brand has one of its hosts."""
        caller = await access.authenticate_caller(incoming)
        given = await decode_creation_body(incoming, decode_creation)
        return json_response(brand_to_json(await brands.create(caller, given)), 201)

    @router.get("", summary="List the brands")
    async def list_brands(
        incoming: Incoming,
        *,
        requested_page: RequestedPage,
        name: Annotated[str, Query(description="Only brands of this name")] = "",
    ) -> Response:
        """Those of the operator's file, then the newest first."""
        await access.authenticate_caller(incoming)
        found, has_more = await brands.page(page_of(requested_page), name=name)
        return list_response(map(brand_to_json, found), has_more=has_more)

    @router.get("/{brand_id}", summary="Get a brand")
    async def get(incoming: Incoming, brand_id: str) -> Response:
        """An account key can get the brand of its account."""
        caller = await access.authenticate_caller(incoming)
        return json_response(brand_to_json(await brands.get(caller, brand_id)))

    _add_changes(router, access, brands)
    return router


def _add_changes(router: APIRouter, access: RestAccess, brands: BrandResource) -> None:
    @router.patch(
        "/{brand_id}",
        openapi_extra=body_schema(UpdateBrandRequest, "the changes"),
        summary="Change a brand",
    )
    async def update(incoming: Incoming, brand_id: str) -> Response:
        """Keys, DKIM selectors and DNS records that exist stay as they are."""
        caller = await access.authenticate_caller(incoming)
        given = await decode_request_body(incoming, decode_update)
        return json_response(brand_to_json(await brands.update(caller, brand_id, given)))

    @router.delete("/{brand_id}", summary="Delete a brand")
    async def delete(incoming: Incoming, brand_id: str) -> Response:
        """Only while no account names it; otherwise 409 `brand_in_use`."""
        caller = await access.authenticate_caller(incoming)
        return deleted_response("brand", await brands.delete(caller, brand_id))
