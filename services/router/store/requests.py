"""Queries of tenants, with the tenant role: every statement names the tenant, and row-level
security shows only its rows. Queries to reconcile messages, with the system role."""

from collections.abc import Sequence
from typing import NamedTuple

from kernel.database import RowOwner, Transaction
from kernel.ids import NIL
from services.router.domain.cells import CellOf, first_cell
from services.router.domain.events import ClosedRow
from services.router.domain.message import SANDBOX, ExpiredMessage, MessageRowState, ScheduledQueue
from services.router.domain.new_messages import NewMessage
from services.router.store.queues import QueueDueTime, mark_queues_due

STATES = """
SELECT m.message_id::text, m.state, m.reason, extract(epoch FROM m.due_at)::float8, m.attempt,
    m.attempt_count, m.ambiguous, coalesce(m.reply, ''), m.queue_id, m.egress_id,
    coalesce(q.limited_by, ''),
    coalesce(extract(epoch FROM q.available_at)::float8, 0), m.due_at <= now()
FROM router.messages AS m LEFT JOIN router.queues AS q ON q.queue_id = m.queue_id
WHERE m.message_id = ANY(%s::uuid[]) AND m.tenant_id = %s
"""

CLOSED_COLUMNS = """
message_id::text, state, reason, attempt, ambiguous, coalesce(reply, ''), bounce_class,
extract(epoch FROM closed_at)::float8, context, queue_id
"""

INSERT_CLOSED = """
INSERT INTO router.messages AS stored (message_id, tenant_id, email_id, cell, queue_id, state,
    reason, due_at, expires_at, address_hash, test, context, closed_at)
SELECT message_id, tenant_id, email_id, cell, queue_id, %(state)s, %(reason)s,
    to_timestamp(due), to_timestamp(expires), address_hash, test, context, now()
FROM unnest(%(ids)s::uuid[], %(tenants)s::uuid[], %(emails)s::uuid[], %(queue_ids)s::text[],
    %(dues)s::float8[], %(expires)s::float8[], %(hashes)s::bytea[], %(tests)s::bool[],
    %(contexts)s::bytea[], %(cells)s::text[])
    AS a (message_id, tenant_id, email_id, queue_id, due, expires, address_hash, test, context,
        cell)
ORDER BY message_id
"""

CANCEL = f"""{INSERT_CLOSED}
ON CONFLICT (message_id) DO UPDATE
    SET state = excluded.state, reason = excluded.reason, closed_at = now()
    WHERE stored.state IN ('expected', 'queued', 'held') AND stored.tenant_id = excluded.tenant_id
RETURNING {CLOSED_COLUMNS}
"""  # noqa: S608 - constants only

FAIL = f"{INSERT_CLOSED} ON CONFLICT DO NOTHING RETURNING {CLOSED_COLUMNS}"

RESCHEDULE = """
INSERT INTO router.messages AS stored (message_id, tenant_id, email_id, cell, queue_id, state,
    reason, due_at, expires_at, address_hash, test, context)
SELECT message_id, tenant_id, email_id, cell, queue_id, 'expected', '', to_timestamp(%(due)s),
    to_timestamp(expires), address_hash, test, context
FROM unnest(%(ids)s::uuid[], %(tenants)s::uuid[], %(emails)s::uuid[], %(queue_ids)s::text[],
    %(expires)s::float8[], %(hashes)s::bytea[], %(tests)s::bool[], %(contexts)s::bytea[],
    %(cells)s::text[])
    AS a (message_id, tenant_id, email_id, queue_id, expires, address_hash, test, context, cell)
ORDER BY message_id
ON CONFLICT (message_id) DO UPDATE SET due_at = excluded.due_at, expires_at = excluded.expires_at
    WHERE stored.state IN ('expected', 'queued', 'held') AND stored.tenant_id = excluded.tenant_id
RETURNING message_id::text, state, queue_id, extract(epoch FROM due_at)::float8
"""

QUEUE_COLUMNS = """
SELECT q.queue_id, q.site,
    coalesce(extract(epoch FROM coalesce(q.next_at, q.available_at))::float8, 0),
    q.limited_by, split_part(q.blocked_by, '/', 1), (SELECT count(*) FROM (
        SELECT 1 FROM router.messages AS m
        WHERE m.queue_id = q.queue_id AND m.state = 'queued' LIMIT 10000) AS counted)
FROM {queues} AS q
"""

QUEUES = f"""{QUEUE_COLUMNS.format(queues="router.queues")}
WHERE q.tenant_id = %(tenant)s AND q.queue_id > %(after)s
    AND (q.site = %(sandbox)s OR NOT %(test_only)s)
ORDER BY q.queue_id LIMIT %(limit)s
"""

# The id of a queue begins with its tenant, so the tenants are read in turn until the page is full.
QUEUES_OF_ACCOUNT = f"""
WITH page AS (
    SELECT found.* FROM router.tenant_accounts AS owner CROSS JOIN LATERAL (
        SELECT * FROM router.queues AS q
        WHERE q.tenant_id = owner.tenant_id AND q.queue_id > %(after)s
            AND (q.site = %(sandbox)s OR NOT %(test_only)s)
        ORDER BY q.queue_id LIMIT %(limit)s
    ) AS found
    WHERE owner.account_id = %(account)s AND owner.tenant_id >= %(first_tenant)s
    ORDER BY owner.tenant_id, found.queue_id LIMIT %(limit)s
)
{QUEUE_COLUMNS.format(queues="page")} ORDER BY q.tenant_id, q.queue_id
"""  # noqa: S608 - constants only

SELECT_TO_RECONCILE = """
SELECT message_id::text, state, attempt, attempt_count, reply IS NOT NULL, ambiguous,
    coalesce(reply, ''),
    context, extract(epoch FROM expires_at)::float8, expires_at <= now(), tenant_id::text,
    extract(epoch FROM now())::float8
FROM router.messages WHERE message_id = ANY(%s::uuid[])
"""


class MessageView(NamedTuple):
    """The fields of a message that its tenant may see, with the limit of its queue."""

    message_id: str
    state: str
    reason: str
    due_s: float
    attempt: int
    attempt_count: int
    ambiguous: bool
    reply: bytes
    queue_id: str
    egress_id: str
    limited_by: str
    available_at_s: float
    is_due: bool


class QueueView(NamedTuple):
    queue_id: str
    site: str
    next_s: float
    limited_by: str
    limit_scope: str  # the kind of the scope that blocks it
    queued: int  # counted up to 10,000


class ReconcileRow(NamedTuple):
    row: ExpiredMessage
    expires_s: float
    is_expired: bool
    tenant_id: str
    now_s: float


async def load_states(tx: Transaction, tenant_id: str, ids: Sequence[str]) -> list[MessageView]:
    return [MessageView._make(row) for row in await tx.rows(STATES, (ids, tenant_id))]


async def cancel(tx: Transaction, new_messages: Sequence[NewMessage]) -> list[ClosedRow]:
    """Cancel the messages that are not assigned yet. Returns the closed ones."""
    return await insert_closed(
        tx, CANCEL, new_messages, state=MessageRowState.CANCELED, reason="canceled"
    )


async def reschedule(
    tx: Transaction,
    new_messages: Sequence[NewMessage],
    cell_of: CellOf = first_cell,
    *,
    due_s: float,
) -> list[str]:
    """Change the due time of messages that are not assigned yet. Returns their ids."""
    rows = await tx.rows(RESCHEDULE, {**insert_params(new_messages, cell_of), "due": due_s})
    await mark_queues_due(tx, due_times_of(rows), cell_of)
    return [row[0] for row in rows]


def due_times_of(rows: Sequence[tuple[str, str, str, float]]) -> list[QueueDueTime]:
    return [
        QueueDueTime(ScheduledQueue.of(queue_id), due_s)
        for _, state, queue_id, due_s in rows
        if state == MessageRowState.QUEUED
    ]


def insert_params(
    new_messages: Sequence[NewMessage], cell_of: CellOf = first_cell
) -> dict[str, object]:
    return {
        "cells": [cell_of(a.tenant_id) for a in new_messages],
        "ids": [a.message_id for a in new_messages],
        "tenants": [a.tenant_id for a in new_messages],
        "emails": [a.email_id for a in new_messages],
        "queue_ids": [a.queue_id for a in new_messages],
        "expires": [a.expires_s for a in new_messages],
        "hashes": [a.address_hash for a in new_messages],
        "tests": [a.test for a in new_messages],
        "contexts": [a.context for a in new_messages],
    }


async def load_queue_views(
    tx: Transaction, owner: RowOwner, *, after: str, limit: int, test_only: bool
) -> list[QueueView]:
    """In the order of their ids, which begin with the tenant's."""
    params = {
        "tenant": owner.tenant_id,
        "account": owner.account_id,
        "after": after,
        "sandbox": SANDBOX,
        "test_only": test_only,
        "limit": limit,
    }
    if owner.tenant_id is not None:
        rows = await tx.rows(QUEUES, params)
    else:
        first = after.partition("/")[0] or str(NIL)
        rows = await tx.rows(QUEUES_OF_ACCOUNT, {**params, "first_tenant": first})
    return [QueueView._make(row) for row in rows]


async def load_to_reconcile(tx: Transaction, ids: Sequence[str]) -> dict[str, ReconcileRow]:
    """Rows in any state, by id. System role."""
    rows = await tx.rows(SELECT_TO_RECONCILE, (ids,))
    return {
        row[0]: ReconcileRow(
            ExpiredMessage._make((row[0], MessageRowState(row[1]), *row[2:8])), *row[8:]
        )
        for row in rows
    }


async def read_database_now_s(tx: Transaction) -> float:
    """The time of the database's clock, as Unix time."""
    [(moment,)] = await tx.rows("SELECT extract(epoch FROM now())::float8")
    return float(moment)


async def insert_failed(tx: Transaction, new_messages: Sequence[NewMessage]) -> list[ClosedRow]:
    """Insert expired messages that router never received, as failed. System role."""
    if not new_messages:
        return []
    return await insert_closed(
        tx, FAIL, new_messages, state=MessageRowState.FAILED, reason="expired"
    )


async def insert_closed(
    tx: Transaction,
    sql: str,
    new_messages: Sequence[NewMessage],
    *,
    state: MessageRowState,
    reason: str,
) -> list[ClosedRow]:
    dues = [a.due_s for a in new_messages]
    params = {**insert_params(new_messages), "dues": dues, "state": state.value, "reason": reason}
    return [ClosedRow._make(row) for row in await tx.rows(sql, params)]
