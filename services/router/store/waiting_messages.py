"""Messages that wait: expected, held or queued."""

from typing import NamedTuple

from kernel import ids
from kernel.database import Transaction
from services.router.domain.message import UNRESOLVED, ScheduledQueue

# By key, over the rows of all tenants: an index by tenant would cost every message more than it
# saves the few who cancel by a filter. Columns of other tenants are not returned.
SELECT_PAGE = """
SELECT message_id::text, CASE WHEN waits THEN queue_id END, CASE WHEN waits THEN context END
FROM (
    SELECT message_id, queue_id, context,
        tenant_id = %(tenant)s AND state IN ('expected', 'queued', 'held') AS waits
    FROM router.messages WHERE message_id > %(after)s ORDER BY message_id LIMIT %(limit)s
) AS scanned
"""
SCANNED_MAX = 2_000
FIRST_ID = str(ids.NIL)


class CancelableMessage(NamedTuple):
    """site: empty until it is known. context: serialized."""

    site: str
    context: bytes


async def read_page(
    tx: Transaction, tenant_id: str, *, after: str
) -> tuple[list[CancelableMessage], str]:
    """The waiting messages of a tenant among the next rows, and the id after which the next page
    begins; empty after the last. System role."""
    params = {"tenant": tenant_id, "after": after or FIRST_ID, "limit": SCANNED_MAX}
    rows = await tx.rows(SELECT_PAGE, params)
    found = [CancelableMessage(site_of(row[1]), row[2]) for row in rows if row[1] is not None]
    return found, rows[-1][0] if len(rows) == SCANNED_MAX else ""


def site_of(queue_id: str) -> str:
    site = ScheduledQueue.of(queue_id).site
    return "" if site == UNRESOLVED else site
