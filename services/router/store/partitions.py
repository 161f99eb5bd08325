"""The days of messages, and those that were dropped for good."""

from collections.abc import Iterable
from datetime import date, timedelta

from kernel.database import Database, Transaction
from kernel.days import Closed, Days, Rows, day_of

MESSAGES = Rows("router.messages", ("message_id",), "message_id", "closed_at IS NULL")


class Partitions:
    """Which days there are, as far as this process knows."""

    def __init__(self) -> None:
        self.days = Days("router", "messages")
        self._forgotten: set[date] = set()

    async def prepare(self, tx: Transaction, message_ids: Iterable[str]) -> set[str]:
        """Make the days that are missing. The ids of days that were dropped for good: a record
        of theirs is older than everything that could still move."""
        by_day: dict[date, list[str]] = {}
        for message_id in message_ids:
            by_day.setdefault(day_of(message_id), []).append(message_id)
        if unknown := self.days.missing(by_day):
            rows = await tx.rows("SELECT day FROM router.forgotten")
            self._forgotten = {day for (day,) in rows}
            await self.days.ensure(tx, unknown - self._forgotten)
        return {one for day in by_day.keys() & self._forgotten for one in by_day[day]}

    async def drop(self, tx: Transaction, day: date) -> bool:
        """For good: it is not made again."""
        await tx.execute(
            "INSERT INTO router.forgotten (day) VALUES (%s) ON CONFLICT DO NOTHING", (day,)
        )
        return await self.days.drop(tx, day)


def closed_days(database: Database, *, kept_days: int) -> Closed:
    return Closed(database, MESSAGES, timedelta(days=kept_days))
