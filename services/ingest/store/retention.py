"""Creates and drops day partitions, and deletes expired rows in small steps."""

from collections.abc import Sequence
from datetime import date, timedelta

from kernel import clock
from kernel.clock_check import clocks_agree
from kernel.database import Database, Transaction
from kernel.days import ClosedDayFinder, DayTable, TablePartitions, create_coming_days
from kernel.ids import lower_bound_at
from services.ingest.store import (
    audit_log,
    erasures,
    quotas,
    request_log,
    resource_counts,
    suppression_imports,
    usage_exports,
)

TABLES = ("emails", "messages")
STEP_ROWS = 1_000

EXPIRE_KEYS = """
DELETE FROM ingest.idempotency WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM ingest.idempotency WHERE expires_at < now() LIMIT %s))
"""
EXPIRE_CONTENT_USAGE = """
DELETE FROM ingest.content_usage WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM ingest.content_usage
    WHERE last_day < (now() AT TIME ZONE 'UTC')::date ORDER BY last_day LIMIT %s))
"""
MESSAGES = DayTable(
    "ingest.messages",
    ("message_id",),
    "message_id",
    "closed_state IS NULL",
)


class RetentionStore:
    """retention_days: days that emails are retained after their last message has closed."""

    def __init__(self, database: Database, *, retention_days: int) -> None:
        self._database = database
        self._retention = timedelta(days=retention_days)
        self._days = TablePartitions("ingest", *TABLES)
        self._requests = TablePartitions("ingest", "requests")
        self._closed = ClosedDayFinder(database, MESSAGES, self._retention)

    async def create_partitions(self) -> None:
        """Create the partitions of today and the coming days."""
        await create_coming_days(self._database, "ingest", self._create)

    async def _create(self, tx: Transaction, days: Sequence[date]) -> None:
        await self._days.ensure(tx, days)
        await self._requests.ensure(tx, days)

    async def has_mail(self) -> bool:
        async with self._database.transaction() as tx:
            [(found,)] = await tx.rows("SELECT EXISTS (SELECT FROM ingest.emails)")
        return bool(found)

    async def clocks_agree(self) -> bool:
        """Nothing may be removed otherwise. Raises Unavailable."""
        return await clocks_agree(self._database)

    async def expire_keys(self) -> int:
        """Delete expired idempotency keys. Returns their number."""
        return await self._expire(EXPIRE_KEYS)

    async def expire_content_usage(self) -> int:
        """Delete the counts of expired content. Returns the number of rows."""
        return await self._expire(EXPIRE_CONTENT_USAGE)

    async def expire_resource_counts(self) -> int:
        """Delete old counts of what accounts have had and used. Returns the number of rows."""
        kinds = (resource_counts, quotas, usage_exports)
        return sum([await self._expire(kind.EXPIRE) for kind in kinds])

    async def expire_audit_log(self) -> int:
        """Delete old entries. Returns their number."""
        oldest = lower_bound_at(clock.now() - audit_log.RETENTION)
        return await self._expire(audit_log.EXPIRE, oldest)

    async def expire_suppression_imports(self) -> int:
        """Delete old imports, and uploads that have not ended. Returns their number."""
        step = suppression_imports.DELETED_AT_ONCE
        completed = await self._expire(suppression_imports.EXPIRE, step=step)
        return completed + await self._expire(suppression_imports.EXPIRE_UPLOADS, step=step)

    async def expire_erasures(self) -> int:
        """Delete the records of old erasures. Returns their number."""
        return await self._expire(erasures.EXPIRE, lower_bound_at(clock.now() - erasures.RETENTION))

    async def _expire(self, statement: str, *params: object, step: int = STEP_ROWS) -> int:
        """Delete in steps, each in its own transaction. step: rows, the last parameter."""
        total = 0
        while True:
            async with self._database.transaction() as tx:
                gone = await tx.execute(statement, (*params, step))
            total += gone
            if gone < step:
                return total

    async def drop_requests(self) -> None:
        """Drop the old days of the log of API requests."""
        oldest = clock.now().date() - request_log.RETENTION
        async with self._database.transaction() as tx:
            days = [day for day in await self._requests.existing(tx) if day < oldest]
        for day in days:
            async with self._database.transaction() as tx:
                await self._requests.drop(tx, day)

    async def drop_days(self) -> list[date]:
        """Drop the days whose messages have all been closed for the retention time."""
        async with self._database.transaction() as tx:
            there = await self._days.existing(tx)
        old = [day for day in there if day < clock.now().date() - self._retention]
        return [day for day in old if await self._closed.is_expired(day) and await self._drop(day)]

    async def _drop(self, day: date) -> bool:
        self._closed.forget(day)
        async with self._database.transaction() as tx:
            return await self._days.drop(tx, day)
