"""/v1/usage and /v1/invoices: what a month used and costs."""

from typing import Annotated, TypeAlias

from fastapi import APIRouter, Query, Response
from fastapi import Request as Incoming

from services.ingest.api.rest_base import PROBLEM_RESPONSES, RestAccess, json_response
from services.ingest.api.usage import UsageResource
from services.ingest.api.usage_schemas import By
from services.ingest.api.usage_views import invoice_to_json, usage_to_json

Period: TypeAlias = Annotated[
    str, Query(max_length=10, description="Month in UTC, such as `2026-01`; by default this one")
]
AccountId: TypeAlias = Annotated[
    str, Query(max_length=40, description="Required with the key of an operator")
]


def routes(access: RestAccess, reports: UsageResource) -> APIRouter:
    router = APIRouter(prefix="/v1", tags=["usage"], responses=PROBLEM_RESPONSES)

    @router.get("/usage", summary="Get what was used in a month")
    async def get_usage(
        incoming: Incoming, *, period: Period = "", by: By | None = None, account_id: AccountId = ""
    ) -> Response:
        """In Resend's form, with additions. Without `X-Tenant-Id`, that of all tenants of an
        account. `by` adds a row for each day or tenant."""
        caller = await access.authenticate_caller(incoming)
        found = await reports.get(caller, period=period, by=by or "", account_id=account_id)
        return json_response(usage_to_json(found))

    @router.get("/invoices/preview", summary="Preview the invoice of a month")
    async def preview_invoice(
        incoming: Incoming, *, period: Period = "", account_id: AccountId = ""
    ) -> Response:
        """What the month costs by now, with a link to the evidence of each line."""
        caller = await access.authenticate_caller(incoming)
        found = await reports.preview_invoice(caller, period=period, account_id=account_id)
        return json_response(invoice_to_json(found))

    return router
