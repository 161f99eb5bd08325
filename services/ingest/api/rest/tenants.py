"""/v1/tenants: the isolated sending units of an account."""

from typing import Annotated

import msgspec
from fastapi import APIRouter, Query, Response
from fastapi import Request as Incoming

from services.ingest.api.administration.tenants import (
    CreateTenantRequest,
    PauseTenantRequest,
    TenantResource,
    UpdateTenantRequest,
)
from services.ingest.api.administration.views import tenant_to_json
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

decode_creation = msgspec.json.Decoder(CreateTenantRequest).decode
decode_update = msgspec.json.Decoder(UpdateTenantRequest).decode
decode_pause = msgspec.json.Decoder(PauseTenantRequest).decode


def routes(access: RestAccess, tenants: TenantResource) -> APIRouter:
    router = APIRouter(prefix="/v1/tenants", tags=["tenants"], responses=PROBLEM_RESPONSES)

    @router.post(
        "",
        status_code=201,
        openapi_extra=body_schema(CreateTenantRequest, "a tenant"),
        summary="Create a tenant",
    )
    async def create(incoming: Incoming) -> Response:
        """Each tenant has its own queues, limits and reputation."""
        caller = await access.authenticate_caller(incoming)
        given = await decode_creation_body(incoming, decode_creation)
        return json_response(tenant_to_json(await tenants.create(caller, given)), 201)

    _add_reads(router, access, tenants)
    _add_changes(router, access, tenants)
    return router


def _add_reads(router: APIRouter, access: RestAccess, tenants: TenantResource) -> None:
    @router.get("", summary="List the tenants of the account")
    async def list_tenants(
        incoming: Incoming,
        *,
        requested_page: RequestedPage,
        external_id: Annotated[str, Query(description="Your own id of the tenant")] = "",
        account_id: Annotated[str, Query(description="For operators: only this account's")] = "",
        name: Annotated[str, Query(description="Only tenants of this name")] = "",
    ) -> Response:
        """Newest first."""
        caller = await access.authenticate_caller(incoming)
        found, has_more = await tenants.page(
            caller,
            page_of(requested_page),
            external_id=external_id,
            account_id=account_id,
            name=name,
        )
        return list_response(map(tenant_to_json, found), has_more=has_more)

    @router.get("/{tenant_id}", summary="Get a tenant")
    async def get(incoming: Incoming, tenant_id: str) -> Response:
        caller = await access.authenticate_caller(incoming)
        return json_response(tenant_to_json(await tenants.get(caller, tenant_id)))


def _add_changes(router: APIRouter, access: RestAccess, tenants: TenantResource) -> None:
    @router.patch(
        "/{tenant_id}",
        openapi_extra=body_schema(UpdateTenantRequest, "the changes"),
        summary="Change a tenant",
    )
    async def update(incoming: Incoming, tenant_id: str) -> Response:
        caller = await access.authenticate_caller(incoming)
        given = await decode_request_body(incoming, decode_update)
        return json_response(tenant_to_json(await tenants.update(caller, tenant_id, given)))

    @router.delete("/{tenant_id}", summary="Close a tenant")
    async def delete(incoming: Incoming, tenant_id: str) -> Response:
        """Only without keys and domains; otherwise 409 `tenant_in_use`."""
        caller = await access.authenticate_caller(incoming)
        deleted = await tenants.delete(caller, tenant_id)
        return deleted_response("tenant", deleted.tenant_id)

    @router.post(
        "/{tenant_id}/pause",
        openapi_extra=body_schema(PauseTenantRequest, "the reason and the end", required=False),
        summary="Refuse the live mail of a tenant",
    )
    async def pause(incoming: Incoming, tenant_id: str) -> Response:
        """Sends are refused with 403 `tenant_paused`. Test keys still work."""
        caller = await access.authenticate_caller(incoming)
        given = await decode_optional_body(incoming, decode_pause)
        return json_response(tenant_to_json(await tenants.pause(caller, tenant_id, given)))

    @router.post("/{tenant_id}/resume", summary="Accept the live mail of a tenant again")
    async def resume(incoming: Incoming, tenant_id: str) -> Response:
        """Only the operator can resume a tenant that the operator has paused, or whose mail waits
        because of its bounces or complaints."""
        caller = await access.authenticate_caller(incoming)
        return json_response(tenant_to_json(await tenants.resume(caller, tenant_id)))
