"""Day partitions of messages, and the record of dropped days."""

from collections.abc import Iterable
from datetime import date, timedelta

from kernel.database import Database, Transaction
from kernel.days import ClosedDayFinder, DayTable, TablePartitions, day_of

MESSAGES = DayTable("router.messages", ("message_id",), "message_id", "closed_at IS NULL")


class DayPartitions:
    """The day partitions that this process knows."""

    def __init__(self) -> None:
        self.days = TablePartitions("router", "messages")
        self._dropped_days: set[date] = set()

    async def create_missing_days(self, tx: Transaction, message_ids: Iterable[str]) -> set[str]:
        """Create the missing days. Returns the ids whose day was dropped: such messages closed long
        ago, and nothing about them can still change."""
        by_day: dict[date, list[str]] = {}
        for message_id in message_ids:
            by_day.setdefault(day_of(message_id), []).append(message_id)
        if missing := self.days.missing(by_day):
            rows = await tx.rows("SELECT day FROM router.dropped_days")
            self._dropped_days = {day for (day,) in rows}
            await self.days.ensure(tx, missing - self._dropped_days)
        return {one for day in by_day.keys() & self._dropped_days for one in by_day[day]}

    async def drop_permanently(self, tx: Transaction, day: date) -> bool:
        """Drop a day permanently; it is not created again."""
        await tx.execute(
            "INSERT INTO router.dropped_days (day) VALUES (%s) ON CONFLICT DO NOTHING", (day,)
        )
        return await self.days.drop(tx, day)


def closed_days(database: Database, *, retention_days: int) -> ClosedDayFinder:
    return ClosedDayFinder(database, MESSAGES, timedelta(days=retention_days))
