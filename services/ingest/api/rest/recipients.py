"""/v1/recipients and /v1/erasures: recipients who want to be forgotten."""

from fastapi import APIRouter, Response
from fastapi import Request as Incoming

from services.ingest.api.recipients import ErasureResource, erasure_to_json
from services.ingest.api.rest_base import (
    PROBLEM_RESPONSES,
    RequestedPage,
    RestAccess,
    json_response,
    list_response,
    page_of,
)


def routes(access: RestAccess, recipients: ErasureResource) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["recipients"], responses=PROBLEM_RESPONSES)

    @router.delete("/recipients/{address}", status_code=202, summary="Erase a recipient")
    async def erase(incoming: Incoming, address: str) -> Response:
        """Cancels what waits for the address and removes what is stored of the recipient, in the
        background. Counts stay, and an address that is suppressed stays suppressed. Without
        `X-Tenant-Id`, it concerns all tenants of the account."""
        caller = await access.authenticate_caller(incoming)
        created = erasure_to_json(await recipients.erase(caller, address))
        return json_response(created, 202, {"location": f"/v1/erasures/{created['id']}"})

    @router.get("/erasures", summary="List the erasures of recipients")
    async def list_erasures(incoming: Incoming, *, requested_page: RequestedPage) -> Response:
        """Newest first, without the addresses. Kept for 400 days."""
        caller = await access.authenticate_caller(incoming)
        found, has_more = await recipients.page(caller, page_of(requested_page))
        return list_response(map(erasure_to_json, found), has_more=has_more)

    @router.get("/erasures/{erasure_id}", summary="Get the erasure of a recipient")
    async def get(incoming: Incoming, erasure_id: str) -> Response:
        caller = await access.authenticate_caller(incoming)
        return json_response(erasure_to_json(await recipients.get(caller, erasure_id)))

    return router
