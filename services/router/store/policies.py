"""Events of warmups, overrides and standings, and the counts from which the next ones follow."""

from collections.abc import Iterable, Sequence

from contracts.router.v1.policies_pb2 import ListingChanged, PolicyEvent
from kernel.database import Transaction
from services.router.domain.message import CELL
from services.router.domain.policy_changes import PolicyCounts, PolicyDecisions
from services.router.domain.policy_engine import AdaptivePolicies
from services.router.domain.policy_events import (
    of_all_cells,
    subjects_of_source,
    subjects_of_tenant,
    to_stored,
)

PAGE_ROWS = 1_000
DELETE_BATCH_ROWS = 1_000
# Of events that are not the state of their subject; longer than any override lasts, and than
# campaigns are known.
RETENTION = "interval '40 days'"

SAVE = """
WITH added AS (
    INSERT INTO router.policy_events (cell, subject, event)
    SELECT cell, subject, event
    FROM unnest(%(cells)s::text[], %(event_subjects)s::text[], %(events)s::bytea[])
        WITH ORDINALITY AS a (cell, subject, event, position) ORDER BY position
)
INSERT INTO router.policy_counts (cell, subject, counts)
SELECT %(cell)s, subject, counts::bigint[]
FROM unnest(%(subjects)s::text[], %(counts)s::text[]) AS a (subject, counts)
ON CONFLICT (cell, subject) DO UPDATE SET counts = excluded.counts, updated_at = now()
"""

LATEST = """
SELECT DISTINCT ON (subject) subject, event FROM router.policy_events
WHERE cell = %s AND subject > %s ORDER BY subject, id DESC LIMIT %s
"""

# Of the subjects that are one of these prefixes or begin with one and a slash; 0 comes after it.
LATEST_OF = """
SELECT event FROM unnest(%(prefixes)s::text[]) AS prefix CROSS JOIN LATERAL (
    SELECT DISTINCT ON (subject) event FROM router.policy_events
    WHERE cell = %(cell)s AND subject >= prefix AND subject < prefix || '0'
    ORDER BY subject, id DESC
) AS latest
"""
ENDED_MAX = 20
LISTINGS_OF = """
SELECT event FROM router.policy_events
WHERE cell = %s AND subject >= %s AND subject < %s ORDER BY id DESC LIMIT 500
"""
COUNTS_OF = """
SELECT subject, counts FROM unnest(%(prefixes)s::text[]) AS prefix
JOIN router.policy_counts ON cell = %(cell)s AND subject >= prefix AND subject < prefix || '0'
"""

COUNTS = """
SELECT subject, counts FROM router.policy_counts
WHERE cell = %s AND subject > %s ORDER BY subject LIMIT %s
"""

DELETE_OLD_EVENTS = f"""
DELETE FROM router.policy_events WHERE id = ANY(ARRAY(
    SELECT id FROM router.policy_events AS old WHERE recorded_at < now() - {RETENTION}
    AND (subject LIKE 'override/%%' OR subject LIKE 'campaign/%%' OR EXISTS (
        SELECT FROM router.policy_events AS later
        WHERE later.cell = old.cell AND later.subject = old.subject AND later.id > old.id))
    LIMIT %s))
"""  # noqa: S608 - constants only

DELETE_OLD_COUNTS = """
DELETE FROM router.policy_counts WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM router.policy_counts WHERE updated_at < now() - interval '30 days' LIMIT %s))
"""


async def save(tx: Transaction, cell: str, changes: PolicyDecisions) -> None:
    events = [to_stored(event) for event in changes.events]
    await tx.execute(
        SAVE,
        {
            "cell": CELL,
            "cells": [cell if of_all_cells(event) else CELL for event in changes.events],
            "event_subjects": [subject for subject, _ in events],
            "events": [event for _, event in events],
            "subjects": [one.subject for one in changes.counts],
            "counts": [f"{{{','.join(map(str, one.counts))}}}" for one in changes.counts],
        },
    )


async def read_latest_events_page(
    tx: Transaction, label: str, after: str
) -> tuple[list[PolicyEvent], str | None]:
    """The latest event of the next subjects, and the subject after which the next page begins;
    None after the last."""
    rows = await tx.rows(LATEST, (label, after, PAGE_ROWS))
    return [PolicyEvent.FromString(row[1]) for row in rows], last_of(rows)


async def read_counts_page(tx: Transaction, after: str) -> tuple[list[PolicyCounts], str | None]:
    """The counts of the next subjects, and the subject after which the next page begins."""
    rows = await tx.rows(COUNTS, (CELL, after, PAGE_ROWS))
    return [PolicyCounts._make(row) for row in rows], last_of(rows)


async def load(tx: Transaction, adaptive: AdaptivePolicies) -> None:
    """All of them at once, for an operator."""
    await load_events(tx, adaptive)
    after: str | None = ""
    while after is not None:
        counts, after = await read_counts_page(tx, after)
        adaptive.restore_counts(counts)


async def load_events(tx: Transaction, adaptive: AdaptivePolicies) -> None:
    """Without the counts, which no limit needs."""
    after: str | None = ""
    while after is not None:
        events, after = await read_latest_events_page(tx, CELL, after)
        adaptive.load(events)


async def load_of_sources(
    tx: Transaction, adaptive: AdaptivePolicies, egress_ids: Iterable[str]
) -> None:
    """What concerns these egress sources."""
    await _load_of(tx, adaptive, [one for each in egress_ids for one in subjects_of_source(each)])


async def load_of_tenants(
    tx: Transaction, adaptive: AdaptivePolicies, tenant_ids: Iterable[str]
) -> None:
    """What concerns these tenants, as another cell has left it."""
    await _load_of(tx, adaptive, [one for each in tenant_ids for one in subjects_of_tenant(each)])


async def _load_of(tx: Transaction, adaptive: AdaptivePolicies, prefixes: Sequence[str]) -> None:
    params = {"cell": CELL, "prefixes": prefixes}
    rows = await tx.rows(LATEST_OF, params)
    adaptive.load(PolicyEvent.FromString(event) for (event,) in rows)
    counts = await tx.rows(COUNTS_OF, params)
    adaptive.restore_counts(PolicyCounts._make(row) for row in counts)


async def read_ended_listings(tx: Transaction, egress_id: str) -> list[ListingChanged]:
    """The last listings of a source that have ended, newest first."""
    prefix = f"listing/{egress_id}"
    rows = await tx.rows(LISTINGS_OF, (CELL, prefix, f"{prefix}0"))
    events = [PolicyEvent.FromString(event).listing_changed for (event,) in rows]
    return [one for one in events if not one.listed][:ENDED_MAX]


def last_of(rows: Sequence[tuple[str, object]]) -> str | None:
    return rows[-1][0] if len(rows) == PAGE_ROWS else None


async def delete_old(tx: Transaction) -> int:
    """Delete a batch of events that are history, and counts without mail for a month. Returns
    their number."""
    deleted = await tx.execute(DELETE_OLD_EVENTS, (DELETE_BATCH_ROWS,))
    return deleted + await tx.execute(DELETE_OLD_COUNTS, (DELETE_BATCH_ROWS,))
