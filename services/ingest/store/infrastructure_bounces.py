"""Mail that was refused because of the installation, by day and bounce class, and how much of it an
operator has read."""

from collections.abc import Sequence
from typing import NamedTuple

from kernel.database import Transaction

# A figure that is counted anew may be lower, and what was read stays read.
RECORD = """
INSERT INTO ingest.infrastructure_bounces AS t (day, bounce_class, count)
SELECT * FROM unnest(%s::date[], %s::text[], %s::bigint[])
ON CONFLICT (day, bounce_class) DO UPDATE SET count = greatest(t.count, excluded.count)
"""
FORGET = """
DELETE FROM ingest.infrastructure_bounces WHERE day < (now() AT TIME ZONE 'UTC')::date - %s
"""
UNREAD = """
SELECT bounce_class, sum(count - read_count)::bigint FROM ingest.infrastructure_bounces
GROUP BY bounce_class
"""
READ = "UPDATE ingest.infrastructure_bounces SET read_count = count WHERE read_count < count"


class DailyBounceCount(NamedTuple):
    """day: ISO 8601, in UTC."""

    day: str
    bounce_class: str
    number: int


async def record(tx: Transaction, counts: Sequence[DailyBounceCount], *, days: int) -> None:
    """Days before the last so many are forgotten."""
    columns = [list(column) for column in zip(*sorted(counts), strict=True)] or [[]] * 3
    await tx.execute(RECORD, columns)
    await tx.execute(FORGET, (days,))


async def load_unread(tx: Transaction) -> dict[str, int]:
    """By bounce class."""
    return dict(await tx.rows(UNREAD))


async def mark_read(tx: Transaction) -> None:
    await tx.execute(READ)
