"""Day partitions come and go; what has expired is deleted in small steps."""

from datetime import date, timedelta

from kernel.database import Database, Transaction

TABLES = ("emails", "messages")
DAYS_AHEAD = 3
STEP_ROWS = 5_000

EXPIRE_KEYS = """
DELETE FROM ingest.idempotency WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM ingest.idempotency WHERE expires_at < now() LIMIT %s))
"""
# Of the ids of a day, which are those of its partition.
BUSY = """
SELECT EXISTS (
    SELECT FROM ingest.messages
    WHERE message_id >= ingest.day_bound(%(day)s) AND message_id < ingest.day_bound(%(day)s + 1)
    AND (closed_state IS NULL OR closed_at > now() - make_interval(days => %(kept_days)s)))
"""


class RetentionStore:
    """kept_days: after its last message has closed, a day's mail is kept so long."""

    def __init__(self, database: Database, *, kept_days: int) -> None:
        self._database = database
        self._kept_days = kept_days

    async def prepare(self) -> None:
        """The partitions of today and the next days."""
        async with self._database.transaction() as tx:
            today = await _today(tx)
            for table in TABLES:
                for ahead in range(-1, DAYS_AHEAD + 1):
                    day = today + timedelta(days=ahead)
                    await tx.rows("SELECT ingest.ensure_day_partition(%s, %s)", (table, day))

    async def has_mail(self) -> bool:
        async with self._database.transaction() as tx:
            [(found,)] = await tx.rows("SELECT EXISTS (SELECT FROM ingest.emails)")
        return bool(found)

    async def expire_keys(self) -> int:
        """Forget Idempotency-Keys; how many."""
        total = 0
        while True:
            async with self._database.transaction() as tx:
                gone = await tx.execute(EXPIRE_KEYS, (STEP_ROWS,))
            total += gone
            if gone < STEP_ROWS:
                return total

    async def drop_days(self) -> list[date]:
        """The days of which every message has been closed for long enough."""
        async with self._database.transaction() as tx:
            today = await _today(tx)
            days = await tx.rows("SELECT ingest.day_partitions('messages')")
        old = [day for (day,) in days if day < today - timedelta(days=self._kept_days)]
        return [day for day in old if await self._drop(day)]

    async def _drop(self, day: date) -> bool:
        async with self._database.transaction() as tx:
            [(busy,)] = await tx.rows(BUSY, {"day": day, "kept_days": self._kept_days})
            if busy:
                return False
            for table in TABLES:
                await tx.rows("SELECT ingest.drop_day_partition(%s, %s)", (table, day))
        return True


async def _today(tx: Transaction) -> date:
    [(today,)] = await tx.rows("SELECT (now() AT TIME ZONE 'UTC')::date")
    if not isinstance(today, date):
        raise TypeError("PostgreSQL's date is no date")
    return today
