"""contracts.ingest.v1.MetricsService."""

from collections.abc import Sequence
from math import isnan

from contracts.ingest.v1 import metrics_service_pb2 as pb
from contracts.ingest.v1.metrics_service_pb2_grpc import MetricsServiceServicer
from services.ingest.api.callers import Caller
from services.ingest.api.grpc.base import RpcAccess, authenticated, checked_json
from services.ingest.api.grpc.server import Context
from services.ingest.api.metrics import MetricsResource, MetricsTable


class MetricsServicer(MetricsServiceServicer):
    def __init__(self, access: RpcAccess, metrics: MetricsResource) -> None:
        self.access = access
        self._metrics = metrics

    @authenticated
    async def GetEmailMetrics(
        self, request: pb.GetEmailMetricsRequest, caller: Caller, _: Context
    ) -> pb.GetEmailMetricsResponse:
        return to_proto(await self._metrics.get(caller, **checked_json(request)))


def to_proto(metrics: MetricsTable) -> pb.GetEmailMetricsResponse:
    found = metrics.found
    return pb.GetEmailMetricsResponse(
        start_date=found.start_date,
        end_date=found.end_date,
        metrics=found.metrics,
        dimensions=found.dimensions,
        granularity=found.granularity,
        timezone=found.timezone,
        by=found.by,
        totals=values_of(found.metrics, found.totals),
        data=[
            pb.MetricsGroup(
                keys={name: value or "" for name, value in keys.items()},
                values=values_of(found.metrics, values),
            )
            for keys, values in metrics.rows()
        ],
    )


def values_of(names: Sequence[str], values: Sequence[float]) -> dict[str, float]:
    """Without those that are not known."""
    return {name: one for name, one in zip(names, values, strict=True) if not isnan(one)}
