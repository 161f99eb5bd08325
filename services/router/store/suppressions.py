"""Suppressions: addresses that a tenant must not send to; and the strikes that led to them."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple
from uuid import UUID

from google.protobuf.message import Message

from contracts.ingest.v1.events_pb2 import MessageContext
from kernel import ids
from kernel.database import RowOwner, Transaction
from kernel.tenant_accounts import page_of_account
from kernel.topics import event_id
from services.router.domain.admission import address_hash
from services.router.domain.events import ClosedMessage, message_closed
from services.router.domain.transitions import Strike, Transition, strike_from, strike_of

STRIKE_WINDOW = "interval '30 days'"

# A bounce counts once, by its event id. The strike that reaches the threshold suppresses.
RECORD_STRIKES = f"""
WITH struck AS (
    SELECT * FROM unnest(%(events)s::uuid[], %(tenants)s::uuid[], %(hashes)s::bytea[],
        %(addresses)s::text[], %(kinds)s::text[], %(thresholds)s::int[], %(sources)s::text[],
        %(ids)s::uuid[], %(origins)s::text[])
        AS s (event_id, tenant_id, address_hash, address, kind, threshold, source_id, id, origin)
), counted AS (
    INSERT INTO router.bounce_strikes (event_id, tenant_id, address_hash, kind)
    SELECT event_id, tenant_id, address_hash, kind FROM struck ORDER BY event_id
    ON CONFLICT DO NOTHING RETURNING event_id
), numbered AS (
    SELECT struck.*, row_number() OVER (
        PARTITION BY tenant_id, address_hash, kind ORDER BY event_id) AS nth
    FROM struck JOIN counted USING (event_id)
), suppressed AS (
INSERT INTO router.suppressions (tenant_id, address_hash, id, address, origin, source_id)
SELECT DISTINCT ON (tenant_id, address_hash) tenant_id, address_hash, id, address, origin, source_id
FROM numbered
WHERE threshold <= nth + (
    SELECT count(*) FROM (
        SELECT FROM router.bounce_strikes AS before WHERE before.tenant_id = numbered.tenant_id
          AND before.address_hash = numbered.address_hash AND before.kind = numbered.kind
          AND before.created_at > now() - {STRIKE_WINDOW} LIMIT numbered.threshold
    ) AS counted
)
ORDER BY tenant_id, address_hash, id
ON CONFLICT (tenant_id, address_hash) DO NOTHING
)
SELECT event_id::text FROM counted
"""  # noqa: S608 - constants only

DELETE_OLD_STRIKES = f"""
DELETE FROM router.bounce_strikes WHERE event_id = ANY(ARRAY(
    SELECT event_id FROM router.bounce_strikes
    WHERE created_at < now() - {STRIKE_WINDOW} - interval '1 day' LIMIT 1000))
"""  # noqa: S608 - constants only


async def record_strikes(
    tx: Transaction,
    strikes: Sequence[Strike],
    *,
    events: Sequence[str],
    ids: Sequence[str],
    origin: str,
) -> set[str]:
    """Count each event once, and suppress addresses that reach their threshold. Returns the events
    that had not been counted.

    events: event ids. ids: ids of new suppressions.
    """
    if not strikes:
        return set()
    rows = await tx.rows(
        RECORD_STRIKES,
        {
            "events": events,
            "tenants": [s.tenant_id for s in strikes],
            "hashes": [s.address_hash for s in strikes],
            "addresses": [s.address for s in strikes],
            "kinds": [s.kind for s in strikes],
            "thresholds": [s.suppress_after for s in strikes],
            "sources": [s.message_id for s in strikes],
            "ids": ids,
            "origins": [origin] * len(strikes),
        },
    )
    return {event for (event,) in rows}


async def record_transition_strikes(
    tx: Transaction, applied: Iterable[tuple[Transition, Message | None]]
) -> None:
    """Count bounces after an attempt, once per published event."""
    strikes = [
        (one, event) for transition, event in applied if event and (one := strike_from(transition))
    ]
    await record_strikes(
        tx,
        [one for one, _ in strikes],
        events=[event_id(event) for _, event in strikes],
        ids=[ids.uuid7_text() for _ in strikes],
        origin="hard_bounce",
    )


async def record_closed_strikes(tx: Transaction, closed_messages: Sequence[ClosedMessage]) -> None:
    """Count bounces without an attempt (for example, a domain that does not exist)."""
    strikes = [
        (one, message_closed(closed_message))
        for closed_message in closed_messages
        if (one := strike_from_closed(closed_message))
    ]
    await record_strikes(
        tx,
        [one for one, _ in strikes],
        events=[event_id(event) for _, event in strikes],
        ids=[ids.uuid7_text() for _ in strikes],
        origin="hard_bounce",
    )


def strike_from_closed(closed_message: ClosedMessage) -> Strike | None:
    context = MessageContext.FromString(closed_message.context)
    if context.test or not closed_message.bounce_class:
        return None
    return strike_of(
        closed_message.bounce_class,
        tenant_id=context.tenant_id,
        address_hash=address_hash(context.recipient),
        address=context.recipient,
        message_id=closed_message.message_id,
    )


COLUMNS = (
    "id::text, address, origin, source_id, extract(epoch FROM created_at)::float8, tenant_id::text"
)

ADD = f"""
INSERT INTO router.suppressions AS stored
    (tenant_id, address_hash, id, address, origin, source_id, created_at)
SELECT DISTINCT ON (address_hash) %s::uuid, address_hash, id, address, %s, '', created_at
FROM unnest(%s::bytea[], %s::uuid[], %s::text[], %s::timestamptz[])
    AS a (address_hash, id, address, created_at)
ORDER BY address_hash
ON CONFLICT (tenant_id, address_hash) DO UPDATE SET address = stored.address
RETURNING {COLUMNS}
"""  # noqa: S608 - constants only

LIST = f"SELECT {COLUMNS} FROM router.suppressions WHERE tenant_id = {{tenant}}"  # noqa: S608
PAGE = f"{LIST} AND id < %(after)s AND id > %(before)s ORDER BY suppressions.id"
OLDER, NEWER = (f"{PAGE} {order} LIMIT %(limit)s" for order in ("DESC", "ASC"))
# IS TRUE prevents the use of the index by id, in which an address is slow to find.
BY_ADDRESS = f"""{LIST} AND address_hash = %(hash)s
    AND (id < %(after)s) IS TRUE AND (id > %(before)s) IS TRUE"""

REMOVE = f"""
DELETE FROM router.suppressions
WHERE tenant_id = %s AND (address_hash = ANY(%s::bytea[]) OR id = ANY(%s::uuid[]))
RETURNING {COLUMNS}
"""  # noqa: S608 - constants only


class Suppression(NamedTuple):
    suppression_id: str
    address: str
    origin: str
    source_id: str
    created_s: float
    tenant_id: str


async def add(
    tx: Transaction,
    tenant_id: str,
    addresses: Sequence[str],
    *,
    origin: str,
    new_ids: Sequence[str] = (),
) -> list[Suppression]:
    """Add addresses; existing suppressions do not change. Returns the suppressions of all. new_ids:
    UUIDv7s, one for each address, that have the times of the suppressions."""
    hashes = [address_hash(address) for address in addresses]
    identifiers = [UUID(one) for one in new_ids] or [ids.uuid7() for _ in addresses]
    times = [ids.creation_time_of(one) for one in identifiers]
    rows = await tx.rows(ADD, (tenant_id, origin, hashes, identifiers, list(addresses), times))
    return [Suppression._make(row) for row in rows]


async def list_page(
    tx: Transaction, owner: RowOwner, *, after: str, before: str, address: str, limit: int
) -> list[Suppression]:
    """A page, newest first: older than the id `after`, or newer than the id `before`."""
    page_sql = BY_ADDRESS if address else NEWER if before else OLDER
    params = {
        "tenant": owner.tenant_id,
        "account": owner.account_id,
        "after": after or ids.MAX,
        "before": before or ids.NIL,
        "hash": address_hash(address),
        "limit": limit,
    }
    if owner.tenant_id is None:
        page_sql = page_of_account("router", page_sql, order="ASC" if before else "DESC")
    else:
        page_sql = page_sql.format(tenant="%(tenant)s")
    return [Suppression._make(row) for row in await tx.rows(page_sql, params)]


async def remove(tx: Transaction, tenant_id: str, names: Sequence[str]) -> list[Suppression]:
    """Remove suppressions by address or id, and the strikes that led to them."""
    hashes = [address_hash(name) for name in names]
    by_id = [name for name in names if is_uuid(name)]
    removed = [Suppression._make(r) for r in await tx.rows(REMOVE, (tenant_id, hashes, by_id))]
    removed_hashes = [address_hash(one.address) for one in removed]
    await tx.execute(
        "DELETE FROM router.bounce_strikes WHERE tenant_id = %s AND address_hash = ANY(%s::bytea[])"
        " AND kind <> 'complaint'",
        (tenant_id, removed_hashes),
    )
    return removed


async def delete_old_strikes(tx: Transaction) -> int:
    """Delete a batch of strikes that no longer count. Returns their number."""
    return await tx.execute(DELETE_OLD_STRIKES)


def is_uuid(text: str) -> bool:
    try:
        ids.canonical_uuid(text)
    except ValueError:
        return False
    return True
