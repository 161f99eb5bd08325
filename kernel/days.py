"""Day partitions: created when missing, dropped when everything in them is past retention.

The functions in PostgreSQL come from kernel.migrate. Replicas can create and drop the same day
concurrently; the second call has no effect.
"""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from typing import Any, LiteralString
from uuid import UUID

from kernel import clock, ids, metrics
from kernel.database import Database, Transaction

DAY_MS = 86_400_000
EPOCH = date(1970, 1, 1)
DROP_AGE_MIN = timedelta(days=6)  # PostgreSQL refuses to drop a day before its seventh
PAGE_ROWS = 1_000
CREATION_INTERVAL_S = 3600.0
# Partitions are created so many days ahead, and ids of later days are not accepted. Many more would
# cost: a statement that finds rows by an array of ids opens the partitions of all later days.
DAYS_AHEAD = 3

CreateDays = Callable[[Transaction, Sequence[date]], Awaitable[object]]


class TablePartitions:
    """The day partitions of a service's tables, which are created and dropped together.

    Days that are known to exist need no query. Only recent days are remembered, because another
    replica can drop an older one at any time.
    """

    def __init__(self, schema: LiteralString, *tables: str) -> None:
        self._schema = schema
        self._tables = list(tables)
        self._existing: set[date] = set()

    def missing(self, days: Iterable[date]) -> set[date]:
        """The days that are not known to exist."""
        return set(days) - self._existing

    async def ensure(self, tx: Transaction, days: Iterable[date]) -> None:
        """Create the partitions that are missing."""
        wanted = self.missing(days)
        if not wanted:
            return
        await tx.rows(
            f"SELECT {self._schema}.ensure_day_partition(parent, day)"  # noqa: S608 - our own names
            " FROM unnest(%s::date[]) AS day, unnest(%s::text[]) AS parent ORDER BY day, parent",
            (sorted(wanted), self._tables),
        )
        tx.after_commit(lambda: self._remember(wanted))

    async def existing(self, tx: Transaction) -> list[date]:
        """The days that all tables have, oldest first."""
        rows = await tx.rows(
            f"SELECT day FROM unnest(%s::text[]) AS parent,"  # noqa: S608
            f" {self._schema}.day_partitions(parent) AS day"
            " GROUP BY day HAVING count(*) = %s ORDER BY day",
            (self._tables, len(self._tables)),
        )
        return [day for (day,) in rows]

    async def drop(self, tx: Transaction, day: date) -> bool:
        """Drop a day from all tables; return whether any table had it."""
        self._existing.discard(day)
        rows = await tx.rows(
            f"SELECT {self._schema}.drop_day_partition(parent, %s)"  # noqa: S608
            " FROM unnest(%s::text[]) AS parent ORDER BY parent",
            (day, self._tables),
        )
        return any(dropped for (dropped,) in rows)

    def _remember(self, days: Iterable[date]) -> None:
        oldest = clock.now().date() - DROP_AGE_MIN
        self._existing = {day for day in self._existing | set(days) if day > oldest}


@dataclass(frozen=True, slots=True)
class DayTable:
    """A partitioned table with a column closed_at. key: its primary key, the order of the scan.
    day_key: the partition key. is_open: an SQL expression."""

    table: LiteralString
    key: Sequence[str]
    day_key: str
    is_open: str

    @property
    def page(self) -> str:
        keys = ", ".join(self.key)
        marks = ", ".join(["%s::uuid"] * len(self.key))
        return (
            f"SELECT {self.is_open}, closed_at, {keys} FROM {self.table}"  # noqa: S608
            f" WHERE {self.day_key} >= %s AND {self.day_key} < %s AND ({keys}) > ({marks})"
            f" ORDER BY {keys} LIMIT {PAGE_ROWS}"
        )


@dataclass(slots=True)
class _Scan:
    """The scan of a day. position: rows up to here are closed. last: the latest closed_at so
    far."""

    position: Sequence[UUID]
    last: datetime | None = None
    ended: bool = False


@dataclass(slots=True)
class ClosedDayFinder:
    """Finds the days whose rows have all been closed for the retention time.

    A day may have millions of rows and one that stays open for weeks. It is scanned in pages, each
    in its own transaction. At an open row the scan stops; the next scan resumes there. A day that
    is closed is scanned once more when its retention ends.
    """

    database: Database
    rows: DayTable
    retention: timedelta
    _scans: dict[date, _Scan] = field(default_factory=dict)

    async def is_expired(self, day: date) -> bool:
        """Whether all rows of the day have been closed for the retention time."""
        scan = self._scans.get(day)
        if scan and scan.ended:
            if not self._is_past_retention(scan):
                return False
            scan = None
        if scan is None:
            scan = self._scans[day] = _Scan([UUID(int=0)] * len(self.rows.key))
        while not scan.ended:
            if not await self._step(scan, day):
                return False
        return self._is_past_retention(scan)

    def forget(self, day: date) -> None:
        self._scans.pop(day, None)

    def _is_past_retention(self, scan: _Scan) -> bool:
        return scan.last is None or scan.last < clock.now() - self.retention

    async def _step(self, scan: _Scan, day: date) -> bool:
        """Scan one page; False if it has an open row."""
        async with self.database.transaction() as tx:
            found: list[Any] = await tx.rows(self.rows.page, (*id_bounds(day), *scan.position))
        for is_open, closed_at, *place in found:
            if is_open:
                return False
            scan.position = place
            if closed_at:
                scan.last = max(scan.last or closed_at, closed_at)
        scan.ended = len(found) < PAGE_ROWS
        return True


def day_of(message_id: str) -> date:
    """The UTC day of a UUIDv7 in its text form (RFC 9562 §5.7). Raises ValueError."""
    return date_of(int(message_id[:8] + message_id[9:13], 16) // DAY_MS)


@lru_cache(maxsize=64)
def date_of(days: int) -> date:
    """The date so many days after 1970-01-01. Raises ValueError for a date in the future."""
    if days > clock.now_ms() // DAY_MS + DAYS_AHEAD:
        raise ValueError(f"day {days} after 1970-01-01 is in the future")
    return EPOCH + timedelta(days=days)


def days_to_create(today: date) -> list[date]:
    """Yesterday (clocks differ), today and the coming days."""
    return [today + timedelta(days=n) for n in range(-1, DAYS_AHEAD + 1)]


async def create_coming_days(database: Database, schema: str, create: CreateDays) -> None:
    """The action of a loop of its own, so that nothing which takes long delays it. By PostgreSQL's
    clock: a process whose clock is days ahead may not store what others cannot process yet."""
    async with database.transaction() as tx:
        [(today,)] = await tx.rows("SELECT (now() AT TIME ZONE 'UTC')::date")
        days = days_to_create(today)
        await create(tx, days)
    end = datetime.combine(days[-1], time(), UTC) + timedelta(days=1)
    metrics.day_partitions_end.labels(schema).set(end.timestamp())


def first_day_bound(identifiers: Sequence[str]) -> UUID:
    """The lower bound of the first day of these ids, for statements that find rows by an array of
    ids and should not open the partitions of earlier days.

    Bounds on both sides would exclude later days too, but without statistics the planner expects
    hardly any row between two bounds: it may read them all, and compare each with all ids, which
    takes seconds in a partition of 20,000 rows.
    """
    return id_bounds(day_of(min(identifiers)))[0]


def id_bounds(day: date) -> tuple[UUID, UUID]:
    """The lower bounds of the ids of a day and of the next day."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return ids.lower_bound_at(start), ids.lower_bound_at(start + timedelta(days=1))
