"""Insert screened messages."""

from collections.abc import Sequence

from kernel.database import Transaction
from services.router.domain.cells import CellOf, first_cell
from services.router.domain.new_messages import NewMessage
from services.router.store.queues import ADD_WORK

# An expected row is filled, but keeps its due_at, because a client has rescheduled it. What is not
# scheduled is due now at the latest, however far ahead the clock of ingest is.
INSERT = f"""
WITH inserted AS (
    INSERT INTO router.messages AS stored (message_id, tenant_id, email_id, cell, queue_id, state,
        reason, due_at, expires_at, address_hash, test, list, context, closed_at)
    SELECT message_id, tenant_id, email_id, cell, queue_id, state, reason,
        CASE WHEN scheduled THEN to_timestamp(due) ELSE least(to_timestamp(due), now()) END,
        to_timestamp(expires), address_hash, test, list, context,
        CASE WHEN state = 'failed' THEN now() END
    FROM unnest(%(ids)s::uuid[], %(tenants)s::uuid[], %(emails)s::uuid[], %(queue_ids)s::text[],
        %(states)s::text[], %(reasons)s::text[], %(dues)s::float8[], %(scheduled)s::bool[],
        %(expires)s::float8[], %(hashes)s::bytea[], %(tests)s::bool[], %(lists)s::text[],
        %(contexts)s::bytea[], %(cells)s::text[])
        AS a (message_id, tenant_id, email_id, queue_id, state, reason, due, scheduled, expires,
              address_hash, test, list, context, cell)
    ORDER BY message_id
    ON CONFLICT (message_id) DO UPDATE SET queue_id = excluded.queue_id, state = excluded.state,
        reason = excluded.reason, list = excluded.list, context = excluded.context,
        closed_at = excluded.closed_at
        WHERE stored.state = 'expected' AND stored.tenant_id = excluded.tenant_id
    RETURNING message_id, tenant_id, queue_id, state, due_at, cell
), activated AS (
    INSERT INTO router.queues AS stored
        (queue_id, tenant_id, cell, site, next_at, active, first_due_at)
    SELECT queue_id, tenant_id, min(cell), split_part(queue_id, '/', 2), min(due_at),
        min(due_at) <= now(), min(due_at)
    FROM inserted WHERE state = 'queued' GROUP BY 1, 2 ORDER BY 1
    {ADD_WORK}
)
SELECT message_id::text, extract(epoch FROM now())::float8 FROM inserted
"""  # noqa: S608 - constants only


async def insert_messages(
    tx: Transaction, new_messages: Sequence[NewMessage], cell_of: CellOf = first_cell
) -> dict[str, float]:
    """Insert the new messages and fill the expected ones. Returns their ids, with the time."""
    rows = await tx.rows(
        INSERT,
        {
            "cells": [cell_of(a.tenant_id) for a in new_messages],
            "ids": [a.message_id for a in new_messages],
            "tenants": [a.tenant_id for a in new_messages],
            "emails": [a.email_id for a in new_messages],
            "queue_ids": [a.queue_id for a in new_messages],
            "states": [a.state.value for a in new_messages],
            "reasons": [a.reason for a in new_messages],
            "dues": [a.due_s for a in new_messages],
            "scheduled": [a.is_scheduled for a in new_messages],
            "expires": [a.expires_s for a in new_messages],
            "hashes": [a.address_hash for a in new_messages],
            "tests": [a.test for a in new_messages],
            "lists": [a.list for a in new_messages],
            "contexts": [a.context for a in new_messages],
        },
    )
    return dict(rows)
