"""/v1/limits: what each scope may use and has used. For operators."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Response
from fastapi import Request as Incoming

from services.ingest.api.egress.limits import LimitResource, ScopeLimits
from services.ingest.api.egress.views import limits_to_json, usage_to_json
from services.ingest.api.rest_base import (
    PROBLEM_RESPONSES,
    RequestedForwardPage,
    RestAccess,
    body_schema,
    decode_request_body,
    json_response,
    list_response,
    page_of,
)

decode_limits = msgspec.json.Decoder(ScopeLimits).decode


def routes(access: RestAccess, limits: LimitResource) -> APIRouter:
    router = APIRouter(prefix="/v1/limits", tags=["limits"], responses=PROBLEM_RESPONSES)

    @router.get("", summary="List the limits and their use")
    async def list_limits(
        incoming: Incoming,
        *,
        requested_page: RequestedForwardPage,
        scope: Annotated[str, Query(description="Only scopes that contain this")] = "",
    ) -> Response:
        """Of the scopes that have sent lately, and those that operators have set."""
        await access.authenticate_caller(incoming)
        found, has_more = await limits.page(page_of(requested_page), scope=scope)
        return list_response(map(usage_to_json, found), has_more=has_more)

    @router.put(
        "",
        openapi_extra=body_schema(ScopeLimits, "a scope and its limits"),
        summary="Set the limits of a scope",
    )
    async def set_limits(incoming: Incoming) -> Response:
        """In force within a second. They replace what an operator has set before; without a limit
        and a weight, it is removed. Of several limits of a scope, the smallest holds. 409 if one
        is too small to be divided among the cells."""
        caller = await access.authenticate_caller(incoming)
        given = await decode_request_body(incoming, decode_limits)
        return json_response(limits_to_json(await limits.set(caller, given)))

    return router
