"""The figures of a tenant, of all tenants of an account, or of all accounts."""

from collections.abc import Awaitable, Callable, Mapping

from contracts.events.v1.events_service_pb2 import GetMetricsRequest, GetMetricsResponse
from kernel import clock
from kernel.database import Database
from kernel.rpc import Context, RequestError, map_errors
from services.events.api.requests import owner_of
from services.events.domain.figures.periods import InvalidPeriod
from services.events.domain.figures.query import InvalidQuery
from services.events.store.metrics import EVERYBODY, load_metrics


class MetricsRpcs:
    """egress_pools: pools by egress source."""

    tenant_database: Database
    system_database: Database
    egress_pools: Callable[[], Awaitable[Mapping[str, str]]]

    @map_errors
    async def GetMetrics(  # noqa: N802
        self, request: GetMetricsRequest, _: Context
    ) -> GetMetricsResponse:
        """Totals, and a row for each combination of the dimensions that has figures; without
        dimensions but the period, one for each period."""
        owner = EVERYBODY if request.all_accounts else owner_of(request)
        database = self.system_database if owner == EVERYBODY else self.tenant_database
        try:
            return await load_metrics(
                database, owner, request, now=clock.now(), egress_pools=self.egress_pools
            )
        except (InvalidPeriod, InvalidQuery) as error:
            raise RequestError(str(error), field=error.field) from None
