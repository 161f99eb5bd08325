"""/v1/overrides and /v1/standings: what replies of receiving servers, bounces and complaints have
limited, and what operators limit for a time."""

import msgspec
from fastapi import APIRouter, Response
from fastapi import Request as Incoming

from services.ingest.api.egress.overrides import OverrideResource
from services.ingest.api.egress.requests import OverrideRequest
from services.ingest.api.egress.views import override_to_json, standing_to_json
from services.ingest.api.rest_base import (
    PROBLEM_RESPONSES,
    RequestedForwardPage,
    RestAccess,
    body_schema,
    decode_creation_body,
    deleted_response,
    json_response,
    list_response,
    page_of,
)

decode_override = msgspec.json.Decoder(OverrideRequest).decode


def routes(access: RestAccess, overrides: OverrideResource) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["overrides"], responses=PROBLEM_RESPONSES)
    _add_reads(router, access, overrides)
    _add_changes(router, access, overrides)
    return router


def _add_reads(router: APIRouter, access: RestAccess, overrides: OverrideResource) -> None:
    @router.get("/overrides", summary="List the overrides in force")
    async def list_overrides(
        incoming: Incoming, *, requested_page: RequestedForwardPage
    ) -> Response:
        """Of your tenants; all for an operator. Newest first."""
        caller = await access.authenticate_caller(incoming)
        found, has_more = await overrides.page(caller, page_of(requested_page))
        return list_response(map(override_to_json, found), has_more=has_more)

    @router.get("/standings", summary="List who is warned or paused")
    async def list_standings(
        incoming: Incoming, *, requested_page: RequestedForwardPage
    ) -> Response:
        """Your tenants that are warned or paused for their bounces or complaints. An operator sees
        all, and sending domains and egress sources too."""
        caller = await access.authenticate_caller(incoming)
        found, has_more = await overrides.standings(caller, page_of(requested_page))
        return list_response(map(standing_to_json, found), has_more=has_more)


def _add_changes(router: APIRouter, access: RestAccess, overrides: OverrideResource) -> None:
    @router.post(
        "/overrides",
        status_code=201,
        openapi_extra=body_schema(OverrideRequest, "an override"),
        summary="Limit or suspend a scope for a time",
    )
    async def add(incoming: Incoming) -> Response:
        """In force within a second; it ends by itself, and replaces one with the same scope and
        action."""
        caller = await access.authenticate_caller(incoming)
        given = await decode_creation_body(incoming, decode_override)
        return json_response(override_to_json(await overrides.add(caller, given)), 201)

    @router.delete("/overrides/{override_id}", summary="End an override now")
    async def remove(incoming: Incoming, override_id: str) -> Response:
        caller = await access.authenticate_caller(incoming)
        return deleted_response("override", await overrides.remove(caller, override_id))
