"""The days of messages: made when they are missing, dropped when they are over."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from uuid import UUID

from kernel import clock, ids
from kernel.database import Transaction

DROPPABLE = """
SELECT count(*) FILTER (WHERE closed_at IS NULL), coalesce(max(closed_at) < now()
    - make_interval(days => %s), true)
FROM router.messages WHERE message_id >= %s AND message_id < %s
"""


class Partitions:
    """Which days there are, as far as this process knows."""

    def __init__(self) -> None:
        self._days: set[date] = set()
        self._forgotten: set[date] = set()

    async def prepare(self, tx: Transaction, message_ids: Iterable[str]) -> set[str]:
        """Make the days that are missing. The ids of days that were dropped for good: a record
        of theirs is older than everything that could still move."""
        by_day: dict[date, list[str]] = {}
        for message_id in message_ids:
            by_day.setdefault(day_of(message_id), []).append(message_id)
        if unknown := by_day.keys() - self._days:
            await self._learn(tx, unknown)
        return {one for day in by_day.keys() & self._forgotten for one in by_day[day]}

    async def _learn(self, tx: Transaction, unknown: Iterable[date]) -> None:
        rows = await tx.rows("SELECT day FROM router.forgotten")
        self._forgotten = {day for (day,) in rows}
        for day in sorted(set(unknown) - self._forgotten):
            await tx.rows("SELECT router.ensure_day_partition('messages', %s)", (day,))
            tx.after_commit(lambda day=day: self._days.add(day))  # type: ignore[misc]

    async def make(self, tx: Transaction, days: Iterable[date]) -> None:
        for day in days:
            await tx.rows("SELECT router.ensure_day_partition('messages', %s)", (day,))

    async def existing(self, tx: Transaction) -> list[date]:
        rows = await tx.rows("SELECT router.day_partitions('messages')")
        return [day for (day,) in rows]

    async def drop_if_over(self, tx: Transaction, day: date, *, closed_kept_days: int) -> bool:
        """When all its messages have been closed for so many days."""
        first, after = bounds(day)
        [(still_open, over)] = await tx.rows(DROPPABLE, (closed_kept_days, first, after))
        if still_open or not over:
            return False
        await tx.execute(
            "INSERT INTO router.forgotten (day) VALUES (%s) ON CONFLICT DO NOTHING", (day,)
        )
        await tx.rows("SELECT router.drop_day_partition('messages', %s)", (day,))
        tx.after_commit(lambda: self._days.discard(day))
        return True


def day_of(message_id: str) -> date:
    """Of acceptance: the first 48 bits are milliseconds. Raises ValueError for what is no id."""
    return date_of(int(message_id[:8] + message_id[9:13], 16) // 86_400_000)


@lru_cache(maxsize=64)
def date_of(days: int) -> date:
    """Of so many days after 1970. Raises ValueError for a day that no message can be of."""
    if days > clock.now_ms() // 86_400_000 + 2:
        raise ValueError(f"no message is accepted {days} days after 1970")
    return date(1970, 1, 1) + timedelta(days=days)


def bounds(day: date) -> tuple[UUID, UUID]:
    start = datetime(day.year, day.month, day.day, tzinfo=UTC)
    next_day = datetime.fromtimestamp(start.timestamp() + 86400, UTC)
    return ids.first_of(start), ids.first_of(next_day)
