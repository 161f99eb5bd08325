"""/v1/health/checks: what is wrong with the installation. For operators."""

from fastapi import APIRouter, Response
from fastapi import Request as Incoming

from services.ingest.api.health_checks import HealthReports
from services.ingest.api.rest_base import PROBLEM_RESPONSES, RestAccess, json_response


def routes(access: RestAccess, reports: HealthReports) -> APIRouter:
    router = APIRouter(prefix="/v1/health/checks", tags=["health"], responses=PROBLEM_RESPONSES)

    @router.get("", summary="Get the health checks")
    async def get_checks(incoming: Incoming) -> Response:
        """As they were found last, those that failed first. All are made every hour."""
        await access.authenticate_caller(incoming)
        return json_response(await reports.get())

    @router.post("", summary="Make the health checks now")
    async def run_checks(incoming: Incoming) -> Response:
        """Takes up to half a minute, if servers do not respond."""
        await access.authenticate_caller(incoming)
        return json_response(await reports.run())

    return router
