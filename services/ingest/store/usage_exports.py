"""What was exported to a billing system, and what is to be: a row for each version of a day."""

from collections.abc import Mapping, Sequence
from datetime import date
from typing import NamedTuple

from kernel.database import Transaction
from services.ingest.domain.usage_export import UsageExport

# What an account was counted to have, it had on days when it existed.
ACCOUNTS = """
SELECT id::text, billing_id, NOT deleted OR EXISTS (
    SELECT FROM ingest.resource_counts AS c WHERE c.account_id = a.id AND c.day >= %(first)s)
FROM ingest.accounts AS a
WHERE billing_id <> '' AND id > %(after)s::uuid ORDER BY id LIMIT %(limit)s
"""
COUNTS = """
SELECT 'domains', day, domains FROM ingest.resource_counts
WHERE account_id = %(account)s::uuid AND day >= %(first)s AND day < %(end)s
UNION ALL SELECT 'mailboxes', day, mailboxes FROM ingest.resource_counts
WHERE account_id = %(account)s::uuid AND day >= %(first)s AND day < %(end)s
"""
# A version for what a day has grown by since the last one. Under the lease nobody else inserts.
ADD = """
INSERT INTO ingest.usage_exports (account_id, meter, day, version, quantity, value, billing_id)
SELECT %(account)s::uuid, v.meter, v.day, coalesce(last.version, 0) + 1, v.quantity,
    v.quantity - coalesce(last.quantity, 0), %(billing_id)s::text
FROM unnest(%(meters)s::text[], %(days)s::date[], %(quantities)s::bigint[])
    AS v (meter, day, quantity)
LEFT JOIN LATERAL (
    SELECT version, quantity FROM ingest.usage_exports AS e
    WHERE e.account_id = %(account)s::uuid AND e.meter = v.meter AND e.day = v.day
    ORDER BY version DESC LIMIT 1
) AS last ON true
WHERE v.quantity > coalesce(last.quantity, 0)
"""
UNSENT = """
SELECT account_id::text, billing_id, meter, day, version, value FROM ingest.usage_exports
WHERE sent_at IS NULL AND (account_id, meter, day, version) > (%s::uuid, %s, %s, %s)
ORDER BY account_id, meter, day, version LIMIT %s
"""
SENT = """
UPDATE ingest.usage_exports SET sent_at = now()
WHERE account_id = %s AND meter = %s AND day = %s AND version = %s
"""
EXPIRE = """
DELETE FROM ingest.usage_exports WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM ingest.usage_exports
    WHERE day < (now() AT TIME ZONE 'UTC')::date - interval '25 months' ORDER BY day LIMIT %s))
"""


class BilledAccount(NamedTuple):
    """has_existed: since the first day that is exported; False for one that was closed before."""

    account_id: str
    billing_id: str
    has_existed: bool


class MeterDayKey(NamedTuple):
    meter: str
    day: date


async def load_accounts(
    tx: Transaction, first: date, *, after: str, limit: int
) -> Sequence[BilledAccount]:
    """The next accounts with a billing_id, also closed ones. first: the first day of exports."""
    rows = await tx.rows(ACCOUNTS, {"first": first, "after": after, "limit": limit})
    return [BilledAccount(*row) for row in rows]


async def load_counts(
    tx: Transaction, account_id: str, first: date, *, end: date
) -> dict[MeterDayKey, int]:
    """What an account had, on days from first to before end."""
    rows = await tx.rows(COUNTS, {"account": account_id, "first": first, "end": end})
    return {MeterDayKey(meter, day): quantity for meter, day, quantity in rows}


async def add_versions(
    tx: Transaction, account: BilledAccount, quantities: Mapping[MeterDayKey, int]
) -> int:
    """Of the days that have grown. Returns their number."""
    keys = sorted(quantities)
    return await tx.execute(
        ADD,
        {
            "account": account.account_id,
            "billing_id": account.billing_id,
            "meters": [key.meter for key in keys],
            "days": [key.day for key in keys],
            "quantities": [quantities[key] for key in keys],
        },
    )


async def load_unsent(
    tx: Transaction, after: UsageExport | None, *, limit: int
) -> Sequence[UsageExport]:
    key = (after.account_id, after.meter, after.day, after.version) if after else FIRST
    return [UsageExport(*row) for row in await tx.rows(UNSENT, (*key, limit))]


async def mark_sent(tx: Transaction, export: UsageExport) -> None:
    await tx.execute(SENT, (export.account_id, export.meter, export.day, export.version))


FIRST = ("00000000-0000-0000-0000-000000000000", "", date.min, 0)
