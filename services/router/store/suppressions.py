"""Addresses that a tenant must not send to, and the strikes that led there."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from google.protobuf.message import Message

from contracts.ingest.v1.events_pb2 import Envelope
from kernel import ids
from kernel.database import Transaction
from kernel.topics import event_id
from services.router.domain.answer import Move, Strike, strike, strike_of
from services.router.domain.arrival import address_hash
from services.router.domain.facts import Final, closed

STRIKE_SPAN = "interval '30 days'"

# A bounce counts once, by its event. The strike that makes it enough suppresses.
COUNT = f"""
WITH struck AS (
    SELECT * FROM unnest(%(events)s::uuid[], %(tenants)s::uuid[], %(hashes)s::bytea[],
        %(addresses)s::text[], %(kinds)s::text[], %(strikes)s::int[], %(sources)s::text[],
        %(ids)s::uuid[], %(origins)s::text[])
        AS s (event_id, tenant_id, address_hash, address, kind, strikes, source_id, id, origin)
), counted AS (
    INSERT INTO router.feedback (event_id, tenant_id, address_hash, kind)
    SELECT event_id, tenant_id, address_hash, kind FROM struck ORDER BY event_id
    ON CONFLICT DO NOTHING RETURNING event_id
), numbered AS (
    SELECT struck.*, row_number() OVER (
        PARTITION BY tenant_id, address_hash, kind ORDER BY event_id) AS nth
    FROM struck JOIN counted USING (event_id)
)
INSERT INTO router.suppressions (tenant_id, address_hash, id, address, origin, source_id)
SELECT DISTINCT ON (tenant_id, address_hash) tenant_id, address_hash, id, address, origin, source_id
FROM numbered
WHERE strikes <= nth + (
    SELECT count(*) FROM (
        SELECT FROM router.feedback AS before WHERE before.tenant_id = numbered.tenant_id
          AND before.address_hash = numbered.address_hash AND before.kind = numbered.kind
          AND before.created_at > now() - {STRIKE_SPAN} LIMIT numbered.strikes
    ) AS counted
)
ORDER BY tenant_id, address_hash, id
ON CONFLICT (tenant_id, address_hash) DO NOTHING
"""  # noqa: S608 - our own words

FORGET = f"""
DELETE FROM router.feedback WHERE event_id = ANY(ARRAY(
    SELECT event_id FROM router.feedback
    WHERE created_at < now() - {STRIKE_SPAN} - interval '1 day' LIMIT 1000))
"""  # noqa: S608 - our own words


async def count(
    tx: Transaction,
    strikes: Sequence[Strike],
    *,
    events: Sequence[str],
    ids: Sequence[str],
    origin: str,
) -> None:
    """Once per event; suppress where it is enough. events: their ids; ids: of new suppressions."""
    if strikes:
        await tx.execute(
            COUNT,
            {
                "events": events,
                "tenants": [s.tenant_id for s in strikes],
                "hashes": [s.address_hash for s in strikes],
                "addresses": [s.address for s in strikes],
                "kinds": [s.kind for s in strikes],
                "strikes": [s.strikes for s in strikes],
                "sources": [s.message_id for s in strikes],
                "ids": ids,
                "origins": [origin] * len(strikes),
            },
        )


async def count_moves(tx: Transaction, moved: Iterable[tuple[Move, Message | None]]) -> None:
    """Bounces by reply; the event that is told is the one that counts."""
    struck = [(one, event) for move, event in moved if event and (one := strike(move))]
    await count(
        tx,
        [one for one, _ in struck],
        events=[event_id(event) for _, event in struck],
        ids=[ids.uuid7_text() for _ in struck],
        origin="hard_bounce",
    )


async def count_finals(tx: Transaction, finals: Sequence[Final]) -> None:
    """Bounces that no reply made (a domain that does not exist)."""
    struck = [(one, closed(final)) for final in finals if (one := strike_by(final))]
    await count(
        tx,
        [one for one, _ in struck],
        events=[event_id(event) for _, event in struck],
        ids=[ids.uuid7_text() for _ in struck],
        origin="hard_bounce",
    )


def strike_by(final: Final) -> Strike | None:
    envelope = Envelope.FromString(final.envelope)
    if envelope.test or not final.bounce_class:
        return None
    return strike_of(
        final.bounce_class,
        tenant_id=envelope.tenant_id,
        address_hash=address_hash(envelope.recipient),
        address=envelope.recipient,
        message_id=final.message_id,
    )


ADD = """
INSERT INTO router.suppressions AS held (tenant_id, address_hash, id, address, origin, source_id)
SELECT DISTINCT ON (address_hash) %s::uuid, address_hash, id, address, %s, ''
FROM unnest(%s::bytea[], %s::uuid[], %s::text[]) AS a (address_hash, id, address)
ORDER BY address_hash
ON CONFLICT (tenant_id, address_hash) DO UPDATE SET address = held.address
RETURNING id::text, address, origin, source_id, extract(epoch FROM created_at)::float8
"""

LIST = """
SELECT id::text, address, origin, source_id, extract(epoch FROM created_at)::float8
FROM router.suppressions WHERE tenant_id = %(tenant)s
"""
WALK = f"{LIST} AND id < %(after)s AND id > %(before)s ORDER BY id"
OLDER, NEWER = (f"{WALK} {order} LIMIT %(limit)s" for order in ("DESC", "ASC"))
# IS TRUE: so that it is no condition for the index by id, where an address is hard to find.
BY_ADDRESS = f"""{LIST} AND address_hash = %(hash)s
    AND (id < %(after)s) IS TRUE AND (id > %(before)s) IS TRUE"""

REMOVE = """
DELETE FROM router.suppressions
WHERE tenant_id = %s AND (address_hash = ANY(%s::bytea[]) OR id = ANY(%s::uuid[]))
RETURNING id::text, address, origin, source_id, extract(epoch FROM created_at)::float8
"""


class Suppressed(NamedTuple):
    suppression_id: str
    address: str
    origin: str
    source_id: str
    created_s: float


async def add(
    tx: Transaction, tenant_id: str, addresses: Sequence[str], *, origin: str
) -> list[Suppressed]:
    """All of them as they are now; an address that is there already stays as it is."""
    hashes = [address_hash(address) for address in addresses]
    new_ids = [ids.uuid7_text() for _ in addresses]
    rows = await tx.rows(ADD, (tenant_id, origin, hashes, new_ids, list(addresses)))
    return [Suppressed._make(row) for row in rows]


async def find(
    tx: Transaction, tenant_id: str, *, after: str, before: str, address: str, limit: int
) -> list[Suppressed]:
    """Newest first, behind the id `after`, or those just before the id `before`."""
    walk = NEWER if before else OLDER
    params = {
        "tenant": tenant_id,
        "after": after or ids.MAX,
        "before": before or ids.NIL,
        "hash": address_hash(address),
        "limit": limit,
    }
    rows = await tx.rows(BY_ADDRESS if address else walk, params)
    return [Suppressed._make(row) for row in rows]


async def remove(tx: Transaction, tenant_id: str, names: Sequence[str]) -> list[Suppressed]:
    """By address or by id. The strikes that led there are forgotten with it."""
    hashes = [address_hash(name) for name in names]
    known = [name for name in names if is_uuid(name)]
    removed = [Suppressed._make(r) for r in await tx.rows(REMOVE, (tenant_id, hashes, known))]
    gone = [address_hash(one.address) for one in removed]
    await tx.execute(
        "DELETE FROM router.feedback WHERE tenant_id = %s AND address_hash = ANY(%s::bytea[])"
        " AND kind <> 'complaint'",
        (tenant_id, gone),
    )
    return removed


async def forget_feedback(tx: Transaction) -> int:
    """Some of the strikes that no longer count; how many."""
    return await tx.execute(FORGET)


def is_uuid(text: str) -> bool:
    try:
        ids.canonical(text)
    except ValueError:
        return False
    return True
