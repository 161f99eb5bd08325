"""/v1/dkim-zone: the records of a DNS zone of the installation, to which those of domains lead."""

from typing import Annotated

from fastapi import APIRouter, Query, Response
from fastapi import Request as Incoming

from services.ingest.api.domain_views import zone_entry_to_json
from services.ingest.api.domains import DomainResource
from services.ingest.api.rest_base import (
    PROBLEM_RESPONSES,
    RequestedPage,
    RestAccess,
    list_response,
    page_of,
)


def routes(access: RestAccess, domains: DomainResource) -> APIRouter:
    router = APIRouter(prefix="/v1/dkim-zone", tags=["domains"], responses=PROBLEM_RESPONSES)

    @router.get("", summary="List the DKIM records of a zone of yours")
    async def list_records(
        incoming: Incoming,
        *,
        requested_page: RequestedPage,
        zone: Annotated[str, Query(max_length=253, description="The dkim_zone of a brand")] = "",
    ) -> Response:
        """The TXT records that the zone has to publish, by domain, newest first."""
        await access.authenticate_caller(incoming)
        found, has_more = await domains.zone_page(page_of(requested_page), zone=zone)
        return list_response(map(zone_entry_to_json, found), has_more=has_more)

    return router
