"""The owner's hand: due rows of open lanes, and where they go."""

from collections.abc import Iterable, Mapping, Sequence

from kernel.database import Transaction
from services.router.domain.dispatch import Assignment, Relaned
from services.router.domain.message import Claimed, Lane
from services.router.store.lanes import Work, give_work, hold

# One row more than the quota, of whatever due time: it says when the lane has work next. No row
# locks: there is one owner, and every move is guarded by what was read here.
CLAIM = """
SELECT m.message_id::text, m.lane, extract(epoch FROM m.due_at)::float8,
    extract(epoch FROM m.expires_at)::float8, m.attempt, m.tries, m.egress_id, m.ambiguous,
    s.address_hash IS NOT NULL, m.envelope
FROM unnest(%s::text[], %s::int[]) AS open (lane, quota) CROSS JOIN LATERAL (
    SELECT * FROM router.messages WHERE messages.lane = open.lane AND state = 'waiting'
    ORDER BY due_at LIMIT open.quota + 1
) AS m
LEFT JOIN router.suppressions AS s
    ON s.tenant_id = m.tenant_id AND s.address_hash = m.address_hash AND NOT m.test
"""

# `due_at`: a row that was rescheduled a moment ago stays where it is.
# `state || ''`: found by its key, never by reading the index of all that waits. `first` and `last`:
# then the statement opens the days of its messages alone.
ASSIGN = """
UPDATE router.messages AS m SET state = 'assigned', attempt = m.attempt + 1, reason = '',
    egress_id = a.egress_id, assigned_at = now(), not_after = to_timestamp(a.not_after),
    ask_at = now() + make_interval(secs => %(ask_after_s)s), asks = 0, assignment = a.assignment
FROM unnest(%(ids)s::uuid[], %(attempts)s::int[], %(egresses)s::text[], %(not_afters)s::float8[],
    %(assignments)s::bytea[]) AS a (message_id, attempt, egress_id, not_after, assignment)
WHERE m.message_id = a.message_id AND m.state || '' = 'waiting' AND m.attempt = a.attempt
    AND m.due_at <= now() AND m.message_id BETWEEN %(first)s::uuid AND %(last)s::uuid
RETURNING m.message_id::text
"""

RELANE = """
UPDATE router.messages AS m SET lane = r.lane, due_at = to_timestamp(r.due), reason = r.reason
FROM unnest(%s::uuid[], %s::int[], %s::text[], %s::text[], %s::float8[], %s::text[])
    AS r (message_id, attempt, was, lane, due, reason)
WHERE m.message_id = r.message_id AND m.state || '' = 'waiting' AND m.attempt = r.attempt
    AND m.lane = r.was AND m.due_at <= now()
"""


async def claim(tx: Transaction, quotas: Mapping[str, int]) -> dict[str, list[Claimed]]:
    """The first rows of each lane by due time, one more than its quota; suppressions as of now."""
    found: dict[str, list[Claimed]] = {lane: [] for lane in quotas}
    if quotas:
        for row in await tx.rows(CLAIM, (list(quotas), list(quotas.values()))):
            found[row[1]].append(Claimed._make(row))
    for rows in found.values():
        rows.sort(key=lambda row: row.due_s)
    return found


async def assign(
    tx: Transaction, assignments: Sequence[Assignment], *, ask_after_s: float
) -> set[str]:
    """The ids that moved: others were cancelled or moved a moment ago."""
    if not assignments:
        return set()
    assignments = sorted(assignments, key=lambda a: a.row.message_id)
    rows = await tx.rows(
        ASSIGN,
        {
            "ask_after_s": ask_after_s,
            "ids": [a.row.message_id for a in assignments],
            "first": assignments[0].row.message_id,
            "last": assignments[-1].row.message_id,
            "attempts": [a.row.attempt for a in assignments],
            "egresses": [a.egress_id for a in assignments],
            "not_afters": [a.not_after_s for a in assignments],
            "assignments": [a.stored for a in assignments],
        },
    )
    return {message_id for (message_id,) in rows}


async def relane(tx: Transaction, relaned: Sequence[Relaned], *, written: Iterable[Lane]) -> None:
    """Move waiting rows, and give their new lanes work. written: lanes that this transaction writes
    afterwards, so that all of them are locked in one order."""
    if not relaned:
        return
    relaned = sorted(relaned, key=lambda r: r.row.message_id)
    await tx.execute(
        RELANE,
        (
            [r.row.message_id for r in relaned],
            [r.row.attempt for r in relaned],
            [r.row.lane for r in relaned],
            [r.lane.key for r in relaned],
            [r.due_s for r in relaned],
            [r.reason for r in relaned],
        ),
    )
    await hold(tx, {*written, *(r.lane for r in relaned)})
    await give_work(tx, [Work(r.lane, r.due_s) for r in relaned])
