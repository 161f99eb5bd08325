"""What accounts use, from the same deltas as all figures: counted with their fold, and once.

A month is open until some days after its end. What is counted for one of its days after that, in
either direction, is billed to the month that is open then.
"""

from datetime import date
from typing import NamedTuple

from kernel.database import RowOwner, Transaction
from services.events.domain.usage import OPEN_DAYS
from services.events.store.figures.query import owned_by

TODAY = "(now() AT TIME ZONE 'UTC')::date"
# By the time of the event: of the acceptance, and of the first assignment.
ADD = f"""
WITH new AS (
    SELECT delta.tenant_id, owner.account_id, at.day,
        CASE WHEN {TODAY} < (at.month + interval '1 month')::date + {OPEN_DAYS} THEN at.month
            ELSE date_trunc('month', {TODAY})::date END AS month,
        coalesce(sum(delta.accepted), 0) AS accepted, coalesce(sum(delta.sent), 0) AS sent
    FROM events.stats_deltas AS delta
    CROSS JOIN LATERAL (SELECT DATE '1970-01-01' + delta.hour / 24) AS of (day)
    CROSS JOIN LATERAL (SELECT of.day, date_trunc('month', of.day)::date) AS at (day, month)
    LEFT JOIN events.tenant_accounts AS owner ON owner.tenant_id = delta.tenant_id
    WHERE delta.id = ANY(%(ids)s::bigint[]) AND (delta.accepted <> 0 OR delta.sent <> 0)
    GROUP BY delta.tenant_id, owner.account_id, at.day, at.month
), days AS (
    INSERT INTO events.usage_days AS t (tenant_id, month, day, accepted, sent)
    SELECT tenant_id, month, day, accepted, sent FROM new ORDER BY tenant_id, month, day
    ON CONFLICT (tenant_id, month, day) DO UPDATE
        SET accepted = t.accepted + excluded.accepted, sent = t.sent + excluded.sent
)
INSERT INTO events.usage_months AS t (account_id, month, accepted, sent)
SELECT account_id, month, sum(accepted), sum(sent) FROM new WHERE account_id IS NOT NULL
GROUP BY account_id, month ORDER BY account_id, month
ON CONFLICT (account_id, month) DO UPDATE SET accepted = t.accepted + excluded.accepted,
    sent = t.sent + excluded.sent, checked = false
"""  # noqa: S608 - our own names and numbers
KEYS = {"": "''", "tenant": "tenant_id::text", "day": "day::text"}
USED = f"""
SELECT {{key}}, sum(accepted)::bigint, sum(sent)::bigint,
    coalesce(sum(sent) FILTER (WHERE day < month), 0)::bigint,
    coalesce(sum(accepted) FILTER (WHERE day = {TODAY}), 0)::bigint,
    coalesce(sum(sent) FILTER (WHERE day = {TODAY}), 0)::bigint
FROM events.usage_days WHERE {{owned}} AND month = %(month)s GROUP BY 1 ORDER BY 1 LIMIT %(limit)s
"""  # noqa: S608 - our own names
EXPIRED = (
    "DELETE FROM events.usage_{table} WHERE ctid = ANY(ARRAY(SELECT ctid FROM events.usage_{table}"
    " WHERE month < %s ORDER BY month LIMIT %s))"
)
TABLES = ("days", "months", "thresholds")


class UsageCounts(NamedTuple):
    """key: of the tenant or the day. sent_earlier: of those sent, corrections of earlier months."""

    key: str
    accepted: int
    sent: int
    sent_earlier: int
    accepted_today: int
    sent_today: int


async def load_used(
    tx: Transaction, owner: RowOwner, month: date, *, by: str, limit: int
) -> list[UsageCounts]:
    """by: a name of KEYS."""
    owned = owned_by(owner)
    parameters = {"owner": owner.tenant_id or owner.account_id, "month": month, "limit": limit}
    rows = await tx.rows(USED.format(key=KEYS[by], owned=owned), parameters)
    return [UsageCounts(*row) for row in rows]


async def delete_expired(tx: Transaction, table: str, *, before: date, limit: int) -> int:
    """Delete rows of months before this one; returns how many."""
    return await tx.execute(EXPIRED.format(table=table), (before, limit))
