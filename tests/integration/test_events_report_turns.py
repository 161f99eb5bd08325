"""Saved reports that cannot be counted do not hold up others, on real PostgreSQL."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta

import pytest

from contracts.events.v1.events_service_pb2 import GetMetricsRequest
from contracts.kernel.v1.outbox_pb2 import Outgoing
from kernel import clock
from kernel.database import Database
from kernel.errors import Overloaded
from kernel.health import DependencyHealth
from kernel.ids import uuid7_text
from kernel.lease import Lease
from kernel.outbox import Outbox
from services.events.domain.figures.periods import first_start
from services.events.domain.report import ScheduledReport
from services.events.loops.reports import ReportPublisher
from services.events.store import reports
from services.events.store.reports import ReportStore
from tests.support.stack import FreshDatabase


async def send(records: Sequence[Outgoing]) -> None:
    raise AssertionError(records)


async def overloaded() -> Mapping[str, str]:
    raise Overloaded("postgresql")


@asynccontextmanager
async def publishing(database: FreshDatabase) -> AsyncIterator[ReportPublisher]:
    """The figures of pools cannot be counted."""
    with database.connect() as connection:  # of other tests
        connection.execute("DELETE FROM events.reports")
    system, tenant = Database(database.system("events")), Database(database.tenant("events"))
    lease = Lease(system, "events", "reports of a test")
    assert await lease.try_acquire()
    outbox = Outbox(system, "events", send)
    try:
        yield ReportPublisher(system, tenant, outbox, lease, DependencyHealth(), overloaded)
    finally:
        await lease.release()
        await tenant.close()
        await system.close()


async def due_report(publisher: ReportPublisher, query: GetMetricsRequest) -> ScheduledReport:
    """Of the month before."""
    end = first_start(clock.now() - timedelta(minutes=11), "monthly")
    new = ScheduledReport(
        uuid7_text(), uuid7_text(), "", "Every month", query, "monthly", "UTC", False, False,
        end, end,
    )  # fmt: skip
    made = await ReportStore(publisher.database).insert(new, most=1)
    assert made is not None
    return made


def last_ends(database: FreshDatabase) -> dict[str, object]:
    with database.connect() as connection:
        rows = connection.execute("SELECT id::text, last_end FROM events.reports").fetchall()
    return {str(one): end for one, end in rows}


async def test_a_period_that_cannot_be_counted_is_left_out(database: FreshDatabase) -> None:
    async with publishing(database) as publisher:
        query = GetMetricsRequest(dimensions=["period", "tag"], granularity="hourly")
        made = await due_report(publisher, query)
        await publisher.run_once()
        assert last_ends(database) == {made.id: made.next_end}


async def test_a_heavy_report_does_not_hold_up_others(database: FreshDatabase) -> None:
    async with publishing(database) as publisher:
        heavy = await due_report(publisher, GetMetricsRequest(dimensions=["pool"]))
        other = await due_report(publisher, GetMetricsRequest())
        with pytest.raises(Overloaded):
            await publisher.run_once()
        await publisher.run_once()
        assert last_ends(database) == {heavy.id: None, other.id: other.next_end}
        assert await reports.next_due(publisher.system) is None
