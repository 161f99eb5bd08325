"""The accounts of rows that were recorded without one."""

from typing import cast

from kernel.database import Transaction
from kernel.ids import NIL

ROWS_MAX = 1_000
FIRST = str(NIL)
TABLES = ("emails", "state", "tags", "log", "unpartitioned_log")
FILL = """
WITH page AS (
    SELECT tenant_id, email_id FROM events.{table}
    WHERE account_id IS NULL AND email_id > %s ORDER BY email_id LIMIT %s
), filled AS (
    UPDATE events.{table} e SET account_id = t.account_id
    FROM page JOIN events.tenant_accounts t USING (tenant_id)
    WHERE e.tenant_id = page.tenant_id AND e.email_id = page.email_id AND e.account_id IS NULL
)
SELECT max(email_id::text) FROM page
"""


async def backfill_accounts_page(tx: Transaction, table: str, *, after: str) -> str | None:
    """Fill in the accounts of the rows of the next emails. Returns the last of them, or None after
    the end."""
    [(last,)] = await tx.rows(FILL.format(table=table), (after, ROWS_MAX))
    return cast(str | None, last)
