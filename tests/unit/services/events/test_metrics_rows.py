"""A query of figures with too many rows is refused before more is read."""

import asyncio
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from contracts.events.v1.events_service_pb2 import GetMetricsRequest
from services.events.domain.figures.query import InvalidQuery
from services.events.store import metrics


class RollUp:
    """More rows than a response may have."""

    dimensions = ("site",)
    reads = 0

    async def sums(self, *_: object, limit: int) -> list[tuple[Any, ...]]:
        return [(1, "", f"mx{n}.example", 0) for n in range(limit)]

    async def histograms(self, *_: object, limit: int) -> list[tuple[Any, ...]]:
        self.reads += limit
        return []


def test_the_times_of_too_many_rows_are_not_read() -> None:
    request = GetMetricsRequest(metrics=["time_to_delivery_p50_s"], dimensions=["site"])
    query = metrics.query_of(request, datetime(2026, 11, 29, 12, tzinfo=UTC))
    roll_up = RollUp()
    reading = metrics.read_sums(cast(Any, None), cast(Any, None), query, roll_up=cast(Any, roll_up))
    with pytest.raises(InvalidQuery, match="more than 10,000 rows"):
        asyncio.run(reading)
    assert roll_up.reads == 0
