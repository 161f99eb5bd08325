"""Select due messages of active queues, and assign or requeue them."""

from collections.abc import Callable, Iterable, Sequence

from kernel.database import Transaction
from kernel.days import first_day_bound
from services.router.domain.dispatch import Assignment, Requeue
from services.router.domain.message import DueMessage, ScheduledQueue
from services.router.domain.round import QueueQuery
from services.router.store.queues import QueueDueTime, lock_or_create, mark_queues_due

# One row more than the quota, with any due time: it tells when the queue has work next. The scan
# begins at the first due time, because before it are the index entries of rows that have left: they
# stay as long as the oldest transaction of the server. Rows are not locked, because there is one
# scheduler and every transition is guarded by the state read here. The origins are those
# of the suppressions of the account, of the tenant, and of the list; to sort them would cost more
# than to find them. Those of erased recipients have a hash of the hash: see `erased_hash`.
# The account is that of the directory, which knows a new tenant before its mail leaves; the table
# knows it a little later, and those of tenants that were closed.
SELECT_DUE = """
SELECT m.message_id::text, m.queue_id, extract(epoch FROM m.due_at)::float8,
    extract(epoch FROM m.expires_at)::float8, m.attempt, m.attempt_count, m.egress_id, m.ambiguous,
    (SELECT string_agg(s.origin, ',')
     FROM router.suppressions AS s
     WHERE s.owner_id IN (m.tenant_id, open.account_id, owner.account_id)
        AND s.address_hash IN (m.address_hash, CASE WHEN has_erased.is_so
            THEN substr(sha256(%s::bytea || m.address_hash), 1, 16) END)
        AND s.list IN ('', m.list) AND s.expires_at > now() AND NOT m.test),
    m.context, m.held_at IS NOT NULL
FROM unnest(%s::text[], %s::int[], %s::float8[], %s::uuid[], %s::uuid[])
    AS open (queue_id, quota, first_due_s, tenant_id, account_id)
LEFT JOIN router.tenant_accounts AS owner ON owner.tenant_id = open.tenant_id
CROSS JOIN (
    SELECT EXISTS (SELECT FROM router.suppressions WHERE address = '') AS is_so) AS has_erased
CROSS JOIN LATERAL (
    SELECT * FROM router.messages WHERE messages.queue_id = open.queue_id AND state = 'queued'
        AND due_at >= to_timestamp(open.first_due_s)
    ORDER BY due_at LIMIT open.quota + 1
) AS m
"""

# `due_at`: a row that was rescheduled since it was read is not assigned.
# The state is compared together with the attempt, so that the only way to find a row is its key: a
# condition on the state alone would let the plan read all queued rows, or expect hardly any in the
# days of the messages and read those. `first_day`: the statement opens no earlier partitions.
ASSIGN = """
UPDATE router.messages AS m SET state = 'assigned', attempt = m.attempt + 1, reason = '',
    egress_id = a.egress_id, cell = %(cell)s, assigned_at = now(),
    not_after = to_timestamp(a.not_after),
    republish_at = now() + make_interval(secs => %(republish_after_s)s), republish_count = 0,
    assignment = a.assignment
FROM unnest(%(ids)s::uuid[], %(attempts)s::int[], %(egresses)s::text[], %(not_afters)s::float8[],
    %(assignments)s::bytea[]) AS a (message_id, attempt, egress_id, not_after, assignment)
WHERE m.message_id = a.message_id AND m.state || m.attempt = 'queued' || a.attempt
    AND m.due_at <= now() AND m.message_id >= %(first_day)s
RETURNING m.message_id::text
"""

REQUEUE = """
UPDATE router.messages AS m SET queue_id = r.queue_id, due_at = to_timestamp(r.due),
    reason = r.reason
FROM unnest(%s::uuid[], %s::int[], %s::text[], %s::text[], %s::float8[], %s::text[])
    AS r (message_id, attempt, from_queue_id, queue_id, due, reason)
WHERE m.message_id = r.message_id AND m.state || m.attempt = 'queued' || r.attempt
    AND m.queue_id = r.from_queue_id AND m.due_at <= now()
"""


async def select_due(
    tx: Transaction,
    reads: Sequence[QueueQuery],
    *,
    address_key: bytes,
    account_of: Callable[[str], str],
) -> dict[str, list[DueMessage]]:
    """The first rows of each queue by due time, one more than its quota. account_of: the account of
    a tenant, or an empty text."""
    due: dict[str, list[DueMessage]] = {one.queue_id: [] for one in reads}
    if reads:
        tenants = [ScheduledQueue.of(one.queue_id).tenant_id for one in reads]
        params = (
            address_key,
            [one.queue_id for one in reads],
            [one.quota for one in reads],
            [one.first_due_s for one in reads],
            tenants,
            [account_of(one) or None for one in tenants],
        )
        for row in await tx.rows(SELECT_DUE, params):
            due[row[1]].append(DueMessage._make(row))
    for rows in due.values():
        rows.sort(key=lambda row: row.due_s)
    return due


async def assign(
    tx: Transaction, cell: str, assignments: Sequence[Assignment], *, republish_after_s: float
) -> set[str]:
    """Returns the assigned ids; the other messages were canceled or moved since they were read.
    cell: which gets their results."""
    if not assignments:
        return set()
    assignments = sorted(assignments, key=lambda a: a.row.message_id)
    ids = [a.row.message_id for a in assignments]
    rows = await tx.rows(
        ASSIGN,
        {
            "cell": cell,
            "republish_after_s": republish_after_s,
            "ids": ids,
            "first_day": first_day_bound(ids),
            "attempts": [a.row.attempt for a in assignments],
            "egresses": [a.egress_id for a in assignments],
            "not_afters": [a.not_after_s for a in assignments],
            "assignments": [a.stored_event for a in assignments],
        },
    )
    return {message_id for (message_id,) in rows}


async def requeue(
    tx: Transaction,
    cell: str,
    requeues: Sequence[Requeue],
    *,
    written: Iterable[ScheduledQueue],
) -> None:
    """Move queued rows, and activate their new queues. written: queues that this transaction writes
    later; they are locked here, so that all queues are locked in one order."""
    if not requeues:
        return
    requeues = sorted(requeues, key=lambda r: r.row.message_id)
    await tx.execute(
        REQUEUE,
        (
            [r.row.message_id for r in requeues],
            [r.row.attempt for r in requeues],
            [r.row.queue_id for r in requeues],
            [r.queue.queue_id for r in requeues],
            [r.due_s for r in requeues],
            [r.reason for r in requeues],
        ),
    )
    await lock_or_create(tx, {*written, *(r.queue for r in requeues)}, lambda _: cell)
    due = [QueueDueTime(r.queue, r.due_s) for r in requeues]
    await mark_queues_due(tx, due, lambda _: cell)
