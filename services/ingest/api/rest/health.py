"""/v1/health: what is wrong with the installation. For operators."""

from fastapi import APIRouter, Response
from fastapi import Request as Incoming

from services.ingest.api.health_checks import HealthResource
from services.ingest.api.rest_base import PROBLEM_RESPONSES, RestAccess, json_response


def routes(access: RestAccess, reports: HealthResource) -> APIRouter:
    router = APIRouter(prefix="/v1/health", tags=["health"], responses=PROBLEM_RESPONSES)

    @router.get("/checks", summary="Get the health checks")
    async def get_checks(incoming: Incoming) -> Response:
        """As they were found last, those that failed first. All are made every hour."""
        await access.authenticate_caller(incoming)
        return json_response(await reports.get())

    @router.post("/checks", summary="Make the health checks now")
    async def run_checks(incoming: Incoming) -> Response:
        """Takes up to half a minute, if servers do not respond."""
        await access.authenticate_caller(incoming)
        return json_response(await reports.run())

    @router.post("/bounces/read", summary="Mark mail that was refused because of you as read")
    async def mark_bounces_read(incoming: Incoming) -> Response:
        """What the last checks have found as `infrastructure_bounces`: it no longer fails."""
        await access.authenticate_caller(incoming)
        return json_response(await reports.mark_bounces_read())

    @router.post("/challenges", summary="Create a challenge for a mail server")
    async def create_challenge(incoming: Incoming) -> Response:
        """To find out from outside whether a host leads to the return path of this installation."""
        await access.authenticate_caller(incoming)
        return json_response(reports.create_challenge())

    return router
