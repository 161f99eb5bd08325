"""/v1/suppressions: suppressed addresses."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Response
from fastapi import Request as Incoming

from services.ingest.api.rest_base import (
    PROBLEM_RESPONSES,
    RequestedPage,
    RestAccess,
    body_schema,
    decode_request_body,
    deleted_response,
    json_response,
    list_response,
    page_of,
)
from services.ingest.api.suppressions import (
    Addresses,
    NewSuppression,
    Suppressions,
    SuppressionSelector,
    to_json,
)

decode_one = msgspec.json.Decoder(NewSuppression).decode
decode_many = msgspec.json.Decoder(Addresses).decode
decode_selector = msgspec.json.Decoder(SuppressionSelector).decode


def routes(access: RestAccess, suppressions: Suppressions) -> APIRouter:
    router = APIRouter(
        prefix="/v1/suppressions", tags=["suppressions"], responses=PROBLEM_RESPONSES
    )
    _add_one(router, access, suppressions)
    _add_many(router, access, suppressions)
    return router


def _add_one(router: APIRouter, access: RestAccess, suppressions: Suppressions) -> None:
    @router.post(
        "",
        status_code=201,
        openapi_extra=body_schema(NewSuppression, "an address"),
        summary="Suppress an address",
    )
    async def add(incoming: Incoming) -> Response:
        """Suppressing an address again has no effect."""
        principal = await access.authenticate(incoming)
        new = await decode_request_body(incoming, decode_one)
        [added] = await suppressions.add(principal, [new.email], "#/email")
        return json_response(to_json(added), 201)

    @router.get("", summary="List suppressions")
    async def list_suppressions(
        incoming: Incoming,
        *,
        requested_page: RequestedPage,
        email: Annotated[str, Query(max_length=400)] = "",
    ) -> Response:
        """Newest first; without `X-Tenant-Id`, those of all tenants of an account."""
        caller = await access.authenticate_caller(incoming)
        found, has_more = await suppressions.page(caller, page_of(requested_page), email=email)
        return list_response(map(to_json, found), has_more=has_more)

    @router.get("/{email}", summary="Get the suppression of an address")
    async def get(incoming: Incoming, email: str) -> Response:
        principal = await access.authenticate(incoming)
        return json_response(to_json(await suppressions.get(principal, email)))

    @router.delete("/{email}", summary="Remove a suppression, by address or id")
    async def delete(incoming: Incoming, email: str) -> Response:
        principal = await access.authenticate(incoming)
        removed = await suppressions.remove_one(principal, email)
        return deleted_response("suppression", removed.id)


def _add_many(router: APIRouter, access: RestAccess, suppressions: Suppressions) -> None:
    @router.post(
        "/batch/add",
        status_code=201,
        openapi_extra=body_schema(Addresses, "Up to 500 addresses"),
        summary="Suppress addresses",
    )
    async def add_many(incoming: Incoming) -> Response:
        principal = await access.authenticate(incoming)
        new = await decode_request_body(incoming, decode_many)
        added = await suppressions.add(principal, new.emails, "#/emails")
        return json_response(
            {"data": [{"object": "suppression", "id": one.id} for one in added]}, 201
        )

    @router.post(
        "/batch/remove",
        openapi_extra=body_schema(SuppressionSelector, "Up to 500 addresses or ids"),
        summary="Remove suppressions",
    )
    async def remove_many(incoming: Incoming) -> Response:
        """The response lists the addresses that were suppressed."""
        principal = await access.authenticate(incoming)
        which = await decode_request_body(incoming, decode_selector)
        removed = await suppressions.remove(principal, which)
        return json_response(
            {"data": [{"object": "suppression", "id": o.id, "deleted": True} for o in removed]}
        )
