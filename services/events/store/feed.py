"""New public events of some tenants and accounts, in the order of positions."""

from collections.abc import Collection
from typing import NamedTuple
from uuid import UUID

from kernel.database import Transaction
from services.events.domain.timeline import TimelineEntry
from services.events.store.lists import COLUMNS, timeline_entries

OBSERVE = """
SELECT pg_current_xact_id()::text::bigint, pg_snapshot_xmin(pg_current_snapshot())::text::bigint
"""
OF_OWNERS = """
SELECT key.* FROM unnest(%({owner}s)s::uuid[]) AS owner (id) CROSS JOIN LATERAL (
    SELECT position, subject_id, event_id, account_id FROM events.{table} AS entry
    WHERE {owner}_id = owner.id AND public_seq > 0 AND position >= %(low)s AND position < %(high)s
    ORDER BY entry.position LIMIT %(limit)s
) AS key
"""
EVENTS = """
WITH key AS MATERIALIZED (
    SELECT DISTINCT * FROM ({keys}) AS found ORDER BY position LIMIT %(limit)s
)
SELECT {columns}, key.account_id::text FROM key CROSS JOIN LATERAL (
    SELECT * FROM events.log WHERE subject_id = key.subject_id AND event_id = key.event_id OFFSET 0
) AS entry
UNION ALL SELECT {columns}, key.account_id::text FROM key
    JOIN events.unpartitioned_log AS entry USING (event_id)
ORDER BY 2
"""
TABLES = ("log", "unpartitioned_log")


class TransactionHorizon(NamedTuple):
    """See SettledPositions."""

    transaction_id: int
    oldest_running: int


class OwnedEvent(NamedTuple):
    """account_id: None if it is not known yet."""

    entry: TimelineEntry
    account_id: str | None


async def observe(tx: Transaction) -> TransactionHorizon:
    [row] = await tx.rows(OBSERVE)
    return TransactionHorizon(*row)


async def new_events(
    tx: Transaction,
    *,
    tenants: Collection[str] = (),
    accounts: Collection[str] = (),
    low: UUID,
    high: UUID,
    limit: int,
) -> list[OwnedEvent]:
    """With positions from low to below high, of email and other events; the first ones."""
    owners = [name for name, given in (("tenant", tenants), ("account", accounts)) if given]
    keys = [OF_OWNERS.format(owner=owner, table=table) for owner in owners for table in TABLES]
    columns = ", ".join(f"entry.{column}" for column in COLUMNS.split(", "))
    rows = await tx.rows(
        EVENTS.format(keys=" UNION ALL ".join(keys), columns=columns),
        {
            "tenants": sorted(tenants), "accounts": sorted(accounts),
            "low": low, "high": high, "limit": limit,
        },
    )  # fmt: skip
    entries = timeline_entries([row[:-1] for row in rows])
    return [OwnedEvent(entry, row[-1]) for entry, row in zip(entries, rows, strict=True)]
