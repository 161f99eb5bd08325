"""What a tenant, or all tenants of an account, have used in a month."""

from contracts.events.v1.events_service_pb2 import GetUsageRequest, GetUsageResponse, UsageRow
from kernel.database import Database
from kernel.rpc import Context, RequestError, map_errors
from services.events.api.requests import owner_of
from services.events.domain.usage import parse_month
from services.events.store.figures import usage

ROWS_MAX = 10_000


class UsageRpcs:
    tenant_database: Database

    @map_errors
    async def GetUsage(  # noqa: N802
        self, request: GetUsageRequest, _: Context
    ) -> GetUsageResponse:
        owner = owner_of(request)
        try:
            month = parse_month(request.month)
        except ValueError:
            detail = "period: this is no month. It looks like 2026-01."
            raise RequestError(detail, field="period") from None
        if request.by not in usage.KEYS:
            raise RequestError("by: use day or tenant.", field="by")
        async with self.tenant_database.transaction(**owner._asdict()) as tx:
            rows = await usage.load_used(tx, owner, month, by=request.by, limit=ROWS_MAX + 1)
        if len(rows) > ROWS_MAX:
            raise RequestError(f"There are more than {ROWS_MAX:,} tenants. Use day.", field="by")
        return GetUsageResponse(
            rows=[
                UsageRow(
                    key=one.key,
                    accepted=one.accepted,
                    sent=one.sent,
                    sent_of_earlier_months=one.sent_earlier,
                    accepted_today=one.accepted_today,
                    sent_today=one.sent_today,
                )
                for one in rows
            ]
        )
