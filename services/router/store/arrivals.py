"""Screened messages become rows."""

from collections.abc import Sequence

from kernel.database import Transaction
from services.router.domain.arrival import Arrival
from services.router.domain.message import CELL

# What is expected is filled; its due_at stays, because it was told by whoever rescheduled.
INSERT = """
WITH arrived AS (
    INSERT INTO router.messages AS held (message_id, tenant_id, email_id, cell, lane, state,
        reason, due_at, expires_at, address_hash, test, envelope, closed_at)
    SELECT message_id, tenant_id, email_id, %(cell)s, lane, state, reason, to_timestamp(due),
        to_timestamp(expires), address_hash, test, envelope,
        CASE WHEN state = 'failed' THEN now() END
    FROM unnest(%(ids)s::uuid[], %(tenants)s::uuid[], %(emails)s::uuid[], %(lanes)s::text[],
        %(states)s::text[], %(reasons)s::text[], %(dues)s::float8[], %(expires)s::float8[],
        %(hashes)s::bytea[], %(tests)s::bool[], %(envelopes)s::bytea[])
        AS a (message_id, tenant_id, email_id, lane, state, reason, due, expires, address_hash,
              test, envelope)
    ORDER BY message_id
    ON CONFLICT (message_id) DO UPDATE SET lane = excluded.lane, state = excluded.state,
        reason = excluded.reason, envelope = excluded.envelope, closed_at = excluded.closed_at
        WHERE held.state = 'expected' AND held.tenant_id = excluded.tenant_id
    RETURNING message_id, tenant_id, lane, state, due_at
), working AS (
    INSERT INTO router.lanes AS held (lane, tenant_id, cell, site, next_at)
    SELECT lane, tenant_id, %(cell)s, split_part(lane, '/', 2), min(due_at)
    FROM arrived WHERE state = 'waiting' GROUP BY 1, 2 ORDER BY 1
    ON CONFLICT (lane) DO UPDATE SET version = held.version + 1,
        next_at = CASE WHEN held.ring = '' THEN least(held.next_at, excluded.next_at) END
)
SELECT message_id::text, extract(epoch FROM now())::float8 FROM arrived
"""


async def insert(tx: Transaction, arrivals: Sequence[Arrival]) -> dict[str, float]:
    """Those that are new or were expected, with the moment."""
    rows = await tx.rows(
        INSERT,
        {
            "cell": CELL,
            "ids": [a.message_id for a in arrivals],
            "tenants": [a.tenant_id for a in arrivals],
            "emails": [a.email_id for a in arrivals],
            "lanes": [a.lane for a in arrivals],
            "states": [a.state.value for a in arrivals],
            "reasons": [a.reason for a in arrivals],
            "dues": [a.due_s for a in arrivals],
            "expires": [a.expires_s for a in arrivals],
            "hashes": [a.address_hash for a in arrivals],
            "tests": [a.test for a in arrivals],
            "envelopes": [a.envelope for a in arrivals],
        },
    )
    return dict(rows)
