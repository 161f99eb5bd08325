"""Mail that receivers refuse because of the installation: its addresses, names and signatures.
Until an operator has read of it, it is a failed health check."""

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from contracts.events.v1.events_service_pb2 import GetMetricsRequest, MetricsFilter
from kernel import clock
from kernel.database import Database, Transaction
from services.ingest.clients import ServiceClient
from services.ingest.domain import health_checks as domain
from services.ingest.domain.health_checks import HealthFinding
from services.ingest.store import infrastructure_bounces as store
from services.ingest.store.infrastructure_bounces import DailyBounceCount

if TYPE_CHECKING:  # the name exists for type checkers only
    from contracts.events.v1.events_service_pb2_grpc import EventsServiceAsyncStub

DAYS = 7
DEADLINE_S = 10.0


@dataclass(frozen=True, slots=True)
class InfrastructureBounceCheck:
    database: Database
    events: "ServiceClient[EventsServiceAsyncStub]"

    async def check(self) -> list[HealthFinding]:
        """Raises Problem if events does not respond, and Unavailable."""
        first = clock.now() - timedelta(days=DAYS)
        found = await self.events.call(
            self.events.stub.GetMetrics, query_since(str(first.date())), deadline_s=DEADLINE_S
        )
        counts = []
        for row in found.data:
            keys = dict(zip(found.keys, row.keys, strict=True))
            counts.append(
                DailyBounceCount(keys["period"], keys["bounce_class"], int(row.values[0]))
            )
        async with self.database.transaction() as tx:
            await store.record(tx, counts, days=DAYS)
            return await findings(tx)

    @staticmethod
    async def mark_read(tx: Transaction) -> list[HealthFinding]:
        """What was found until now is read."""
        await store.mark_read(tx)
        return await findings(tx)


def query_since(day: str) -> GetMetricsRequest:
    return GetMetricsRequest(
        all_accounts=True,
        start_date=day,
        metrics=["bounced"],
        dimensions=["period", "bounce_class"],
        filters=[MetricsFilter(name="bounce_class", values=domain.BOUNCE_CLASSES)],
    )


async def findings(tx: Transaction) -> list[HealthFinding]:
    return domain.find_unread(await store.load_unread(tx), days=DAYS)
