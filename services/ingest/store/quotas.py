"""How much of their hard quotas accounts have used: in the database with the messages themselves,
and here as far as it is known."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from kernel.database import Database

LOAD = """
SELECT account_id::text, period, messages FROM ingest.quota_usage
WHERE account_id = %s AND period = ANY(%s)
"""
EXPIRE = """
DELETE FROM ingest.quota_usage WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM ingest.quota_usage
    WHERE period < to_char(now() AT TIME ZONE 'UTC' - interval '62 days', 'YYYY-MM')
    ORDER BY period LIMIT %s))
"""


class QuotaKey(NamedTuple):
    """period: a month or a day in UTC, such as 2026-01 or 2026-01-31."""

    account_id: str
    period: str


class QuotaReservation:
    """Messages of a request that is about to be committed. They count until they are released: when
    the sum that has them is known, or when nothing is committed."""

    def __init__(
        self, reserved: Counter[QuotaKey], keys: Sequence[QuotaKey], messages: int
    ) -> None:
        self.keys = keys
        self._reserved = reserved
        self._messages = messages
        for key in keys:
            reserved[key] += messages

    def release(self) -> None:
        """Repeating it changes nothing."""
        for key in self.keys:
            self._reserved[key] -= self._messages
            if not self._reserved[key]:
                del self._reserved[key]
        self._messages = 0


class QuotaUsage:
    """What this process knows is at least used: what each of its commits returned, and what it is
    about to commit. Several replicas learn of each other with their own commits, so each exceeds a
    quota by at most what it is committing then."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._used: dict[QuotaKey, int] = {}
        self._reserved: Counter[QuotaKey] = Counter()

    async def load(self, keys: Sequence[QuotaKey]) -> None:
        """Once for each key. Raises Unavailable."""
        unknown = [key for key in keys if key not in self._used]
        if not unknown:
            return
        periods = [key.period for key in unknown]
        rows = await self._database.execute_autocommit(LOAD, (unknown[0].account_id, periods))
        self.record(dict.fromkeys(unknown, 0) | {QuotaKey(*row[:2]): row[2] for row in rows})

    def record(
        self, used: Mapping[QuotaKey, int], committed: Sequence[QuotaReservation] = ()
    ) -> None:
        """committed: what these sums have."""
        for one in committed:
            one.release()
        for key, messages in used.items():
            if messages >= self._used.get(key, 0):
                self._used[key] = messages

    def used(self, key: QuotaKey) -> int:
        return self._used.get(key, 0) + self._reserved[key]

    def reserve(self, keys: Sequence[QuotaKey], messages: int) -> QuotaReservation:
        return QuotaReservation(self._reserved, keys, messages)

    def keep(self, periods: Collection[str]) -> None:
        """Forget what was used in others."""
        self._used = {key: used for key, used in self._used.items() if key.period in periods}
