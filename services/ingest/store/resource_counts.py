"""How many domains and mailboxes each account has had on each day, and on which plan it was."""

from collections.abc import Sequence
from datetime import date
from typing import NamedTuple
from uuid import UUID

from kernel.database import Transaction

PAGE = 500
# Domains are found by their tenants. Test mailboxes are not counted. Repeated through the day: it
# has the most of all counts.
COUNT = """
WITH page AS (
    SELECT id, plan FROM ingest.accounts WHERE NOT deleted AND id > %(after)s::uuid
    ORDER BY id LIMIT %(limit)s
), counted AS (
    INSERT INTO ingest.resource_counts AS t (account_id, day, plan, domains, mailboxes)
    SELECT id, (now() AT TIME ZONE 'UTC')::date, plan,
        (SELECT count(*) FROM ingest.tenants AS t JOIN ingest.domains AS d ON d.tenant_id = t.id
            WHERE t.account_id = page.id AND NOT t.deleted AND NOT d.deleted),
        (SELECT count(*) FROM ingest.mailboxes AS m
            WHERE m.account_id = page.id AND NOT m.deleted AND NOT m.test)
    FROM page
    ON CONFLICT (account_id, day) DO UPDATE SET plan = excluded.plan,
        domains = greatest(t.domains, excluded.domains),
        mailboxes = greatest(t.mailboxes, excluded.mailboxes)
        WHERE (t.plan, t.domains, t.mailboxes) IS DISTINCT FROM
            (excluded.plan, greatest(t.domains, excluded.domains),
             greatest(t.mailboxes, excluded.mailboxes))
)
SELECT max(id::text) FROM page
"""
# Of a tenant or an account, by the rows that the role may see.
NOW = """
SELECT (SELECT count(*) FROM ingest.domains WHERE NOT deleted),
    (SELECT count(*) FROM ingest.mailboxes WHERE NOT deleted AND NOT test)
"""
OF_MONTH = """
SELECT day, plan, domains, mailboxes FROM ingest.resource_counts
WHERE account_id = %s AND day >= %s AND day < %s ORDER BY day
"""
EXPIRE = """
DELETE FROM ingest.resource_counts WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM ingest.resource_counts
    WHERE day < (now() AT TIME ZONE 'UTC')::date - interval '25 months' ORDER BY day LIMIT %s))
"""


class DailyResourceCounts(NamedTuple):
    day: date
    plan: str
    domains: int
    mailboxes: int


class ResourceCounts(NamedTuple):
    domains: int
    mailboxes: int


async def count_page(tx: Transaction, *, after: UUID) -> UUID | None:
    """Count for the next accounts; returns the last of them, or None after the end."""
    [(last,)] = await tx.rows(COUNT, {"after": after, "limit": PAGE})
    return UUID(last) if last else None


async def count_now(tx: Transaction) -> ResourceCounts:
    [row] = await tx.rows(NOW)
    return ResourceCounts(*row)


async def load_days(
    tx: Transaction, account_id: str, first: date, *, end: date
) -> Sequence[DailyResourceCounts]:
    return [DailyResourceCounts(*row) for row in await tx.rows(OF_MONTH, (account_id, first, end))]
