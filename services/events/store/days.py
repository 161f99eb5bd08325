"""The day partitions of events, and the deletion of other rows by age."""

from collections.abc import Iterable, Sequence
from datetime import date, timedelta

from kernel.database import Database, Transaction
from kernel.days import ClosedDayFinder, DayTable, TablePartitions
from services.events.domain.days import may_create_partition

STATE = DayTable("events.state", ("email_id", "subject_id"), "subject_id", "closed = 0")
DELETE_EXPIRED = (
    "DELETE FROM events.webhook_deliveries WHERE (endpoint_id, position) IN"
    " (SELECT endpoint_id, position FROM events.webhook_deliveries"
    " WHERE created_at < now() - make_interval(days => %s) LIMIT 1000)",
    "DELETE FROM events.webhooks WHERE id = ANY(ARRAY(SELECT id FROM events.webhooks w"
    " WHERE deleted_at < now() - make_interval(days => %s)"
    " AND NOT EXISTS (SELECT FROM events.webhook_deliveries WHERE endpoint_id = w.id)"
    " LIMIT 1000))",
    "DELETE FROM events.hit_spools WHERE spool_id = ANY(ARRAY(SELECT spool_id"
    " FROM events.hit_spools WHERE read_at < now() - make_interval(days => %s) LIMIT 1000))",
)
MESSAGES, EMAILS, ENGAGEMENT = ("log", "state"), ("emails", "tags"), ("engagement",)
TABLES = (*MESSAGES, *EMAILS, *ENGAGEMENT)


class LogDayPartitions:
    """The rows of a message are in the partition of its id's day, those of an email in that of the
    email id's day, which may be the day before. So the emails of a day are dropped one day after
    its messages."""

    def __init__(self) -> None:
        self._messages = TablePartitions("events", *MESSAGES)
        self._emails = TablePartitions("events", *EMAILS)
        self._engagement = TablePartitions("events", *ENGAGEMENT)

    async def ensure(self, tx: Transaction, days: Iterable[date], *, today: date) -> set[date]:
        """Create missing partitions of recent days; returns the days that were dropped."""
        missing = self._messages.missing(days)
        if not missing:
            return set()
        dropped = {day for day in missing if not may_create_partition(day, today)}
        dropped -= set(await self.existing(tx)) if dropped else set()
        new = {day for day in missing if may_create_partition(day, today)}
        await self._messages.ensure(tx, new)
        await self._emails.ensure(tx, new | {day - timedelta(days=1) for day in new})
        await self._engagement.ensure(tx, new)
        return dropped

    async def create(self, tx: Transaction, days: Sequence[date]) -> None:
        """Create the partitions of the coming days."""
        for tables in (self._messages, self._emails, self._engagement):
            await tables.ensure(tx, days)

    async def ensure_engagement(self, tx: Transaction, days: Iterable[date]) -> None:
        """Create missing partitions of days that the log has: older versions had no such table."""
        await self._engagement.ensure(tx, days)

    async def existing(self, tx: Transaction) -> list[date]:
        """Oldest first."""
        return await self._messages.existing(tx)

    async def drop(self, tx: Transaction, day: date) -> bool:
        await self._emails.drop(tx, day - timedelta(days=1))
        await self._engagement.drop(tx, day - timedelta(days=1))
        return await self._messages.drop(tx, day)


def closed_days(database: Database, *, retention_days: int) -> ClosedDayFinder:
    return ClosedDayFinder(database, STATE, timedelta(days=retention_days))


async def delete_expired(tx: Transaction, statement: str, *, retention_days: int) -> int:
    """Delete up to 1000 expired rows by one of DELETE_EXPIRED; returns how many."""
    return await tx.execute(statement, (retention_days,))
