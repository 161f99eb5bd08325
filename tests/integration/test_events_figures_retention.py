"""Roll-ups are kept for their time: hours for 35 days, days for 25 months."""

from datetime import UTC, datetime
from uuid import uuid4

from kernel.database import Database
from kernel.lease import Lease
from services.events.domain.figures.definitions import DAYS_KEPT_DAYS, HOURS_KEPT_DAYS
from services.events.loops.figures import RollUpFolding
from tests.support.events import Running, ScenarioRunner, run_scenario

__all__ = ["run_scenario"]

OLD = """
INSERT INTO events.stats_{span} (tenant_id, cube, axis, {span}, dimensions)
SELECT %s, 2, 0, %s - n, '{{}}' FROM generate_series(0, 1500) AS n
"""


def test_hours_and_days_are_deleted_when_they_are_old(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        tenant_id, today = str(uuid4()), int(datetime.now(UTC).timestamp()) // 86_400
        first = {"hour": (today - HOURS_KEPT_DAYS) * 24, "day": today - DAYS_KEPT_DAYS}
        with events.database.connect() as connection:
            for span, oldest in first.items():
                statement = OLD.format(span=span).encode()
                connection.execute(statement, (tenant_id, oldest + 10))
        database = Database(events.database.system("events"), connections_max=2, name="test")
        lease = Lease(database, "events", "figures of a test")
        try:
            await lease.try_acquire()
            await RollUpFolding(lease).delete_expired()
        finally:
            await database.close()
        for span, oldest in first.items():
            kept = f"SELECT min({span}), count(*) FROM events.stats_{span} WHERE tenant_id = %s"
            assert events.rows(kept, (tenant_id,)) == [(oldest, 11)]

    run_scenario(scenario)
