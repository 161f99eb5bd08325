"""Day partitions: made when they are missing, dropped when all that is in them is long over.

The functions in PostgreSQL are kernel.migrate's. Any number of replicas may make and drop days at
the same moment: whoever comes second finds it done.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Any, LiteralString
from uuid import UUID

from kernel import clock, ids
from kernel.database import Database, Transaction

DAY_MS = 86_400_000
EPOCH = date(1970, 1, 1)
YOUNG = timedelta(days=6)  # PostgreSQL refuses to drop a day before its seventh
PAGE_ROWS = 1_000


class TablePartitions:
    """The days of a service's tables, which come and go together.

    What is known to be there needs no question. Only young days are kept in mind: any other may
    be dropped by another replica at any time.
    """

    def __init__(self, schema: LiteralString, *tables: str) -> None:
        self._schema = schema
        self._tables = list(tables)
        self._existing: set[date] = set()

    def missing(self, days: Iterable[date]) -> set[date]:
        """Those that have to be made, or asked for."""
        return set(days) - self._existing

    async def ensure(self, tx: Transaction, days: Iterable[date]) -> None:
        """Make those that are missing."""
        wanted = self.missing(days)
        if not wanted:
            return
        await tx.rows(
            f"SELECT {self._schema}.ensure_day_partition(parent, day)"  # noqa: S608 - our own words
            " FROM unnest(%s::date[]) AS day, unnest(%s::text[]) AS parent ORDER BY day, parent",
            (sorted(wanted), self._tables),
        )
        tx.after_commit(lambda: self._remember(wanted))

    async def existing(self, tx: Transaction) -> list[date]:
        """Those that all tables have, the oldest first."""
        rows = await tx.rows(
            f"SELECT day FROM unnest(%s::text[]) AS parent,"  # noqa: S608
            f" {self._schema}.day_partitions(parent) AS day"
            " GROUP BY day HAVING count(*) = %s ORDER BY day",
            (self._tables, len(self._tables)),
        )
        return [day for (day,) in rows]

    async def drop(self, tx: Transaction, day: date) -> bool:
        """Whether it was there until now, in any table."""
        self._existing.discard(day)
        rows = await tx.rows(
            f"SELECT {self._schema}.drop_day_partition(parent, %s)"  # noqa: S608
            " FROM unnest(%s::text[]) AS parent ORDER BY parent",
            (day, self._tables),
        )
        return any(dropped for (dropped,) in rows)

    def _remember(self, days: Iterable[date]) -> None:
        oldest = clock.now().date() - YOUNG
        self._existing = {day for day in self._existing | set(days) if day > oldest}


@dataclass(frozen=True, slots=True)
class DayTable:
    """What a day consists of. key: its primary key, the walk's order. day_key: the column by which
    it is partitioned. is_open: an expression. There is a column closed_at."""

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
class _Walk:
    """Through a day. place: everything up to here is closed; last: the latest close so far."""

    place: Sequence[UUID]
    last: datetime | None = None
    ended: bool = False


@dataclass(slots=True)
class ClosedDays:
    """Which days have been closed for long enough.

    A day may have millions of rows and one that is open for weeks. It is walked in pages, each a
    transaction of its own; at a row that is open the walk stops, and is taken up there the next
    time. A day that is closed is left alone until its time has come, and walked once more then.
    """

    database: Database
    rows: DayTable
    retention: timedelta
    _walks: dict[date, _Walk] = field(default_factory=dict)

    async def is_expired(self, day: date) -> bool:
        """Whether all of it has been closed for so long."""
        walk = self._walks.get(day)
        if walk and walk.ended:
            if not self._is_past_retention(walk):
                return False
            walk = None
        if walk is None:
            walk = self._walks[day] = _Walk([UUID(int=0)] * len(self.rows.key))
        while not walk.ended:
            if not await self._step(walk, day):
                return False
        return self._is_past_retention(walk)

    def forget(self, day: date) -> None:
        self._walks.pop(day, None)

    def _is_past_retention(self, walk: _Walk) -> bool:
        return walk.last is None or walk.last < clock.now() - self.retention

    async def _step(self, walk: _Walk, day: date) -> bool:
        """One page further; False at a row that is open."""
        async with self.database.transaction() as tx:
            found: list[Any] = await tx.rows(self.rows.page, (*bounds(day), *walk.place))
        for is_open, closed_at, *place in found:
            if is_open:
                return False
            walk.place = place
            if closed_at:
                walk.last = max(walk.last or closed_at, closed_at)
        walk.ended = len(found) < PAGE_ROWS
        return True


def day_of(message_id: str) -> date:
    """The UTC day of a UUIDv7 in its text form (RFC 9562 §5.7). Raises ValueError."""
    return date_of(int(message_id[:8] + message_id[9:13], 16) // DAY_MS)


@lru_cache(maxsize=64)
def date_of(days: int) -> date:
    """So many days after 1970. Raises ValueError for a day that nothing can be of yet."""
    if days > clock.now_ms() // DAY_MS + 2:
        raise ValueError(f"nothing is of {days} days after 1970")
    return EPOCH + timedelta(days=days)


def around(today: date, *, ahead: int) -> list[date]:
    """Yesterday, today and the days ahead: clocks differ."""
    return [today + timedelta(days=n) for n in range(-1, ahead + 1)]


def bounds(day: date) -> tuple[UUID, UUID]:
    """The first id of a day, and that of the next."""
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return ids.lower_bound_at(start), ids.lower_bound_at(start + timedelta(days=1))
