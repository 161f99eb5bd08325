"""The day partitions of events, and the rows that it deletes by age."""

from collections.abc import Iterable
from datetime import date, timedelta

from kernel.database import Database, Transaction
from kernel.days import ClosedDays, DayTable, TablePartitions
from services.events.domain.days import may_create

STATE = DayTable("events.state", ("email_id", "subject_id"), "subject_id", "closed = 0")
DELETE_EXPIRED = (
    "DELETE FROM events.unpartitioned_log WHERE event_id = ANY(ARRAY("
    "SELECT event_id FROM events.unpartitioned_log"
    " WHERE recorded_at < now() - make_interval(days => %s) LIMIT 1000))",
    "DELETE FROM events.webhook_deliveries WHERE (endpoint_id, position) IN"
    " (SELECT endpoint_id, position FROM events.webhook_deliveries"
    " WHERE created_at < now() - make_interval(days => %s) LIMIT 1000)",
    "DELETE FROM events.webhooks WHERE id = ANY(ARRAY(SELECT id FROM events.webhooks w"
    " WHERE deleted_at < now() - make_interval(days => %s)"
    " AND NOT EXISTS (SELECT FROM events.webhook_deliveries WHERE endpoint_id = w.id)"
    " LIMIT 1000))",
)


class LogDays:
    """A message's rows are of the day of its id, an email's of that of its own, which may be the
    day before. So the emails of a day go one day after its messages."""

    def __init__(self) -> None:
        self._messages = TablePartitions("events", "log", "state")
        self._emails = TablePartitions("events", "emails", "tags")

    async def ensure(self, tx: Transaction, days: Iterable[date], *, today: date) -> set[date]:
        """Make those that are missing and may be made; the others, which were dropped."""
        missing = self._messages.missing(days)
        if not missing:
            return set()
        gone = {day for day in missing if not may_create(day, today)}
        gone -= set(await self.existing(tx)) if gone else set()
        wanted = {day for day in missing if may_create(day, today)}
        await self._messages.ensure(tx, wanted)
        await self._emails.ensure(tx, wanted | {day - timedelta(days=1) for day in wanted})
        return gone

    async def existing(self, tx: Transaction) -> list[date]:
        """The oldest first."""
        return await self._messages.existing(tx)

    async def drop(self, tx: Transaction, day: date) -> bool:
        await self._emails.drop(tx, day - timedelta(days=1))
        return await self._messages.drop(tx, day)


def closed_days(database: Database, *, retention_days: int) -> ClosedDays:
    return ClosedDays(database, STATE, timedelta(days=retention_days))


async def delete_expired(tx: Transaction, statement: str, *, retention_days: int) -> int:
    """Some of what is old, by one of DELETE_EXPIRED; how many rows went."""
    return await tx.execute(statement, (retention_days,))
