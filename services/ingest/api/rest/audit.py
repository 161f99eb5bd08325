"""/v1/audit: who changed what."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi import Request as Incoming

from services.ingest.api.administration.audit_log import AuditLogResource
from services.ingest.api.administration.views import audit_entry_to_json
from services.ingest.api.rest_base import (
    PROBLEM_RESPONSES,
    RequestedPage,
    RestAccess,
    list_response,
    page_of,
    parse_time_parameter,
)


def routes(access: RestAccess, audit_log: AuditLogResource) -> APIRouter:
    router = APIRouter(prefix="/v1/audit", tags=["audit"], responses=PROBLEM_RESPONSES)

    @router.get("", summary="List the administrative acts")
    async def list_acts(
        incoming: Incoming,
        *,
        requested_page: RequestedPage,
        actor: Annotated[str, Query(description="Id of the key that acted")] = "",
        action: Annotated[str, Query(description="For example `api_key.rotate`")] = "",
        resource: Annotated[str, Query(description="For example `tenant`")] = "",
        since: str = "",
    ) -> Response:
        """Newest first. An account sees the acts on what belongs to it, also those of the operator.
        Kept for 400 days."""
        caller = await access.authenticate_caller(incoming)
        equal = {"actor_id": actor, "action": action, "resource": resource}
        found, has_more = await audit_log.page(
            caller,
            page_of(requested_page),
            equal=equal,
            since=parse_time_parameter(since, "since"),
        )
        return list_response(map(audit_entry_to_json, found), has_more=has_more)

    return router
