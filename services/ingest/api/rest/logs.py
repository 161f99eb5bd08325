"""/v1/logs: requests to the API."""

from fastapi import APIRouter, Response
from fastapi import Request as Incoming

from services.ingest.api.request_log import RequestLogResource, to_json, whole_to_json
from services.ingest.api.rest_base import (
    PROBLEM_RESPONSES,
    RequestedPage,
    RestAccess,
    json_response,
    list_response,
    page_of,
)


def routes(access: RestAccess, logs: RequestLogResource) -> APIRouter:
    router = APIRouter(prefix="/v1/logs", tags=["logs"], responses=PROBLEM_RESPONSES)

    @router.get("", summary="List the requests to the API")
    async def list_logs(incoming: Incoming, *, requested_page: RequestedPage) -> Response:
        """Newest first, of the last 30 days; a request is there a second or two after its response.
        Without `X-Tenant-Id`, those of an account and all its tenants."""
        caller = await access.authenticate_caller(incoming)
        found, has_more = await logs.page(caller, page_of(requested_page))
        return list_response(map(to_json, found), has_more=has_more)

    @router.get("/{log_id}", summary="Get a request to the API")
    async def get(incoming: Incoming, log_id: str) -> Response:
        """`request_body` and `response_body` are those of a refusal (4xx), null otherwise. Texts in
        `request_body` are replaced by their lengths."""
        caller = await access.authenticate_caller(incoming)
        return json_response(whole_to_json(await logs.get(caller, log_id)))

    return router
