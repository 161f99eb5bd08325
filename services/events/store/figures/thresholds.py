"""Months of accounts whose use has grown since thresholds were last looked at."""

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple

from kernel.database import Transaction

SENDS = "sends"
UNCHECKED = """
SELECT account_id::text, month, accepted, sent FROM events.usage_months
WHERE NOT checked AND account_id > %s::uuid ORDER BY account_id, month LIMIT %s
"""
# A repeat inserts nothing, so an event is published once.
INSERT = f"""
INSERT INTO events.usage_thresholds (account_id, meter, month, percent)
SELECT account_id, '{SENDS}', month, percent
FROM unnest(%s::uuid[], %s::date[], %s::smallint[]) AS v (account_id, month, percent)
ORDER BY account_id, month, percent
ON CONFLICT DO NOTHING RETURNING account_id::text, month, percent
"""  # noqa: S608 - our own words
# Unless it has grown since it was read.
CHECKED = """
UPDATE events.usage_months AS t SET checked = true
FROM unnest(%s::uuid[], %s::date[], %s::bigint[], %s::bigint[])
    AS v (account_id, month, accepted, sent)
WHERE (t.account_id, t.month, t.accepted, t.sent) = (v.account_id, v.month, v.accepted, v.sent)
"""


class AccountUsage(NamedTuple):
    account_id: str
    month: date
    accepted: int
    sent: int


class PassedThreshold(NamedTuple):
    account_id: str
    month: date
    percent: int


async def load_unchecked(tx: Transaction, *, after: str, limit: int) -> list[AccountUsage]:
    """The next ones, by account."""
    return [AccountUsage(*row) for row in await tx.rows(UNCHECKED, (after, limit))]


async def insert_new(tx: Transaction, passed: Sequence[PassedThreshold]) -> set[PassedThreshold]:
    """Those that were not passed before."""
    if not passed:
        return set()
    columns = [list(column) for column in zip(*passed, strict=True)]
    return {PassedThreshold(*row) for row in await tx.rows(INSERT, columns)}


async def mark_checked(tx: Transaction, months: Sequence[AccountUsage]) -> None:
    if months:
        await tx.execute(CHECKED, [list(column) for column in zip(*months, strict=True)])
