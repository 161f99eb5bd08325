"""Strikes: bounces, complaints and unsubscribes that count towards suppressions; those that reach
their threshold suppress."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from google.protobuf.message import Message

from contracts.ingest.v1.events_pb2 import MessageContext
from contracts.router.v1.events_pb2 import SuppressionChanged
from kernel import ids
from kernel.database import Transaction
from kernel.topics import event_id
from services.router.domain.events import ClosedRow, message_closed
from services.router.domain.suppressions import Suppression, address_hash, suppression_added
from services.router.domain.transitions import Strike, Transition, strike_from, strike_of
from services.router.store.suppressions import COLUMNS, KEEP_STRONGER, KEY, STRENGTH

STRIKE_WINDOW = "interval '30 days'"

# A strike counts once, by its event id. The one that reaches the threshold suppresses.
RECORD_STRIKES = f"""
WITH struck AS (
    SELECT * FROM unnest(%(events)s::uuid[], %(tenants)s::uuid[], %(hashes)s::bytea[],
        %(addresses)s::text[], %(kinds)s::text[], %(thresholds)s::int[], %(sources)s::text[],
        %(ids)s::uuid[], %(origins)s::text[], %(reasons)s::text[], %(lists)s::text[])
        AS s (event_id, tenant_id, address_hash, address, kind, threshold, source_id, id, origin,
            reason, list)
), counted AS (
    INSERT INTO router.bounce_strikes (event_id, tenant_id, address_hash, kind)
    SELECT event_id, tenant_id, address_hash, kind FROM struck ORDER BY event_id
    ON CONFLICT DO NOTHING RETURNING event_id
), numbered AS (
    SELECT struck.*, row_number() OVER (
        PARTITION BY tenant_id, address_hash, kind ORDER BY event_id) AS nth
    FROM struck JOIN counted USING (event_id)
), suppressed AS (
INSERT INTO router.suppressions AS stored
    (owner_id, address_hash, list, id, address, origin, reason, source_id)
SELECT DISTINCT ON (tenant_id, {KEY}) tenant_id, address_hash, list, id, address, origin, reason,
    source_id
FROM numbered
WHERE threshold <= nth + (
    SELECT count(*) FROM (
        SELECT FROM router.bounce_strikes AS before WHERE before.tenant_id = numbered.tenant_id
          AND before.address_hash = numbered.address_hash AND before.kind = numbered.kind
          AND before.created_at > now() - {STRIKE_WINDOW} LIMIT numbered.threshold
    ) AS counted
)
ORDER BY tenant_id, {KEY}, {STRENGTH.format("origin")} DESC, id
{KEEP_STRONGER} RETURNING stored.*
)
SELECT ARRAY(SELECT event_id::text FROM counted),
    (SELECT json_agg(json_build_array({COLUMNS})) FROM suppressed)
"""  # noqa: S608 - constants only

DELETE_OLD = f"""
DELETE FROM router.bounce_strikes WHERE event_id = ANY(ARRAY(
    SELECT event_id FROM router.bounce_strikes
    WHERE created_at < now() - {STRIKE_WINDOW} - interval '1 day' LIMIT 1000))
"""  # noqa: S608 - constants only


class RecordedStrikes(NamedTuple):
    """counted: the events that had not been counted. changes: the suppressions that follow."""

    counted: set[str]
    changes: list[SuppressionChanged]


async def record(
    tx: Transaction, strikes: Sequence[Strike], *, events: Sequence[str]
) -> RecordedStrikes:
    """Count each event once, and suppress addresses that reach their threshold. events: their
    ids."""
    if not strikes:
        return RecordedStrikes(set(), [])
    params = {
        "events": events,
        "tenants": [s.tenant_id for s in strikes],
        "hashes": [s.address_hash for s in strikes],
        "addresses": [s.address for s in strikes],
        "kinds": [s.kind for s in strikes],
        "thresholds": [s.suppress_after for s in strikes],
        "sources": [s.message_id for s in strikes],
        "ids": [ids.uuid7_text() for _ in strikes],
        "origins": [s.origin for s in strikes],
        "reasons": [s.reason for s in strikes],
        "lists": [s.list for s in strikes],
    }
    [(counted, suppressed)] = await tx.rows(RECORD_STRIKES, params)
    changes = [suppression_added(Suppression._make(row)) for row in suppressed or ()]
    return RecordedStrikes(set(counted), changes)


async def record_transitions(
    tx: Transaction, applied: Iterable[tuple[Transition, Message | None]]
) -> list[SuppressionChanged]:
    """Count bounces after an attempt, once per published event."""
    strikes = [
        (one, event) for transition, event in applied if event and (one := strike_from(transition))
    ]
    recorded = await record(
        tx, [one for one, _ in strikes], events=[event_id(event) for _, event in strikes]
    )
    return recorded.changes


async def record_closed(
    tx: Transaction, closed_messages: Sequence[ClosedRow]
) -> list[SuppressionChanged]:
    """Count bounces without an attempt (for example, a domain that does not exist)."""
    strikes = [
        (one, message_closed(closed_message))
        for closed_message in closed_messages
        if (one := strike_from_closed(closed_message))
    ]
    recorded = await record(
        tx, [one for one, _ in strikes], events=[event_id(event) for _, event in strikes]
    )
    return recorded.changes


def strike_from_closed(closed_message: ClosedRow) -> Strike | None:
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


async def delete_old(tx: Transaction) -> int:
    """Delete a batch of strikes that no longer count. Returns their number."""
    return await tx.execute(DELETE_OLD)
