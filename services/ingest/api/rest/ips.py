"""/v1/ips: egress sources and their warmups. Operators change them."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Response
from fastapi import Request as Incoming

from services.ingest.api.administration.directory import checked_filter
from services.ingest.api.egress.requests import (
    AddIpRequest,
    ResumeIpRequest,
    SuspendIpRequest,
    UpdateIpRequest,
    WarmupRequest,
)
from services.ingest.api.egress.sources import SourceResource
from services.ingest.api.egress.views import ip_to_json
from services.ingest.api.rest_base import (
    PROBLEM_RESPONSES,
    RequestedForwardPage,
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

decode_addition = msgspec.json.Decoder(AddIpRequest).decode
decode_update = msgspec.json.Decoder(UpdateIpRequest).decode
decode_warmup = msgspec.json.Decoder(WarmupRequest).decode
decode_suspension = msgspec.json.Decoder(SuspendIpRequest).decode
decode_resumption = msgspec.json.Decoder(ResumeIpRequest).decode


def routes(access: RestAccess, sources: SourceResource) -> APIRouter:
    router = APIRouter(prefix="/v1/ips", tags=["ips"], responses=PROBLEM_RESPONSES)
    _add_reads(router, access, sources)
    _add_changes(router, access, sources)
    _add_acts(router, access, sources)
    return router


def _add_reads(router: APIRouter, access: RestAccess, sources: SourceResource) -> None:
    @router.get("", summary="List the egress sources")
    async def list_ips(
        incoming: Incoming,
        *,
        requested_page: RequestedForwardPage,
        address: Annotated[str, Query(description="Only the source with this address")] = "",
        pool_id: Annotated[str, Query(description="Only the sources of this pool")] = "",
    ) -> Response:
        """Of the pools that your tenants send through, with their state and what is wrong with
        them. Newest first."""
        caller = await access.authenticate_caller(incoming)
        pool = checked_filter(pool_id, "pool_id")
        page = page_of(requested_page)
        found, has_more = await sources.page(caller, page, address=address, pool_id=pool)
        return list_response((ip_to_json(caller, one) for one in found), has_more=has_more)

    @router.get("/{ip_id}", summary="Get an egress source")
    async def get(incoming: Incoming, ip_id: str) -> Response:
        caller = await access.authenticate_caller(incoming)
        return json_response(ip_to_json(caller, await sources.get(caller, ip_id)))


def _add_changes(router: APIRouter, access: RestAccess, sources: SourceResource) -> None:
    @router.post(
        "",
        status_code=201,
        openapi_extra=body_schema(AddIpRequest, "an egress source"),
        summary="Add an egress source",
    )
    async def add(incoming: Incoming) -> Response:
        """The router uses it within seconds. Give a new address a warmup: receiving servers block
        unknown addresses with much mail."""
        caller = await access.authenticate_caller(incoming)
        given = await decode_creation_body(incoming, decode_addition)
        return json_response(ip_to_json(caller, await sources.add(caller, given)), 201)

    @router.patch(
        "/{ip_id}",
        openapi_extra=body_schema(UpdateIpRequest, "the changes"),
        summary="Change an egress source",
    )
    async def update(incoming: Incoming, ip_id: str) -> Response:
        """While it is paused, it gets no new messages, and retries use other sources."""
        caller = await access.authenticate_caller(incoming)
        given = await decode_request_body(incoming, decode_update)
        return json_response(ip_to_json(caller, await sources.update(caller, ip_id, given)))

    @router.delete("/{ip_id}", summary="Remove an egress source")
    async def remove(incoming: Incoming, ip_id: str) -> Response:
        """Its state is `draining` while it has messages in flight."""
        caller = await access.authenticate_caller(incoming)
        return deleted_response("ip", await sources.remove(caller, ip_id))


def _add_acts(router: APIRouter, access: RestAccess, sources: SourceResource) -> None:
    @router.post(
        "/{ip_id}/warmup",
        openapi_extra=body_schema(WarmupRequest, "an action"),
        summary="Start, pause, resume, lower or finish a warmup",
    )
    async def change_warmup(incoming: Incoming, ip_id: str) -> Response:
        """In force within a second. 409 if the action does not apply to the warmup as it is."""
        caller = await access.authenticate_caller(incoming)
        given = await decode_request_body(incoming, decode_warmup)
        return json_response(ip_to_json(caller, await sources.change_warmup(caller, ip_id, given)))

    @router.post(
        "/{ip_id}/suspend",
        openapi_extra=body_schema(SuspendIpRequest, "the end and the site"),
        summary="Suspend an egress source for a time",
    )
    async def suspend(incoming: Incoming, ip_id: str) -> Response:
        """In force within a second, at a site or as a whole; other sources of the pool send. It
        ends by itself."""
        caller = await access.authenticate_caller(incoming)
        given = await decode_request_body(incoming, decode_suspension)
        return json_response(ip_to_json(caller, await sources.suspend(caller, ip_id, given)))

    @router.post(
        "/{ip_id}/resume",
        openapi_extra=body_schema(ResumeIpRequest, "the site", required=False),
        summary="Resume an egress source",
    )
    async def resume(incoming: Incoming, ip_id: str) -> Response:
        """End its pause and its suspension, or with a site the suspension there."""
        caller = await access.authenticate_caller(incoming)
        given = await decode_optional_body(incoming, decode_resumption)
        return json_response(ip_to_json(caller, await sources.resume(caller, ip_id, given)))
