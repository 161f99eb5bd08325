"""The oldest day of the log, for what must not ask the database."""

from datetime import date, timedelta

from kernel import clock
from kernel.database import Database
from kernel.days import day_of
from services.events.store.days import LogDayPartitions


class OldestLogDay:
    """run_once is the action of a loop. retention_days: no younger day counts as dropped, because
    its partition may only not be created yet."""

    def __init__(self, database: Database, *, retention_days: int) -> None:
        self._database = database
        self._retention = timedelta(days=retention_days)
        self._days = LogDayPartitions()
        self.day: date | None = None

    async def run_once(self) -> None:
        async with self._database.transaction() as tx:
            existing = await self._days.existing(tx)
        self.day = existing[0] if existing else None

    def is_dropped(self, message_id: str) -> bool:
        """Whether the log no longer has the day of a message; False until it was read."""
        if self.day is None:
            return False
        try:
            day = day_of(message_id)
        except ValueError:
            return False
        return day < min(self.day, clock.now().date() - self._retention)
