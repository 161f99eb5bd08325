"""Publishes lives of messages to the events service, and asks it for figures."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any

from contracts.events.v1.events_service_pb2 import GetMetricsRequest, GetMetricsResponse
from services.events.domain.figures.definitions import COUNTER_NAMES
from tests.support.events import Running, until
from tests.support.figure_counts import Counted
from tests.support.figures import HOURS, Life


def utc_day(moment: datetime) -> str:
    return str(moment.astimezone(UTC).date())


def period_of(now: datetime) -> dict[str, str]:
    return {"start_date": utc_day(now - timedelta(hours=HOURS)), "end_date": utc_day(now)}


async def metrics(events: Running, **fields: Any) -> GetMetricsResponse:  # noqa: ANN401
    """Of all counters, unless others are named."""
    request = GetMetricsRequest(**{"metrics": COUNTER_NAMES, **fields})
    return await events.call(events.stub.GetMetrics, request)


def counted(response: GetMetricsResponse) -> Counted:
    rows: list[tuple[Sequence[str], Sequence[float]]] = [
        (one.keys, one.values) for one in response.data
    ]
    if not response.dimensions:
        rows = [((), response.totals)]
    found = {
        tuple(keys): {
            name: int(number)
            for name, number in zip(response.metrics, values, strict=True)
            if number
        }
        for keys, values in rows
    }
    return {keys: counts for keys, counts in found.items() if counts}


async def publish(events: Running, some: Sequence[Life], random: Random) -> None:
    """All events, shuffled, and some of them twice."""
    records = [event for life in some for event in life.events]
    records += random.sample(records, len(records) // 10)
    random.shuffle(records)
    await events.publish(*records)


async def wait_counted(events: Running, some: Sequence[Life]) -> None:
    """Wait until the log has all events, and the roll-ups have all deltas."""
    wanted = sum(len(life.events) for life in some)
    tenants = list({life.tenant_id for life in some})
    logged = "SELECT (SELECT count(*) FROM events.log WHERE tenant_id = ANY(%s::uuid[]))"
    logged += " + (SELECT count(*) FROM events.unpartitioned_log WHERE tenant_id = ANY(%s::uuid[]))"
    await until(lambda: events.rows(logged, (tenants, tenants))[0][0] >= wanted)
    await wait_folded(events)


async def wait_folded(events: Running) -> None:
    await until(lambda: not events.rows("SELECT FROM events.stats_deltas LIMIT 1"))
