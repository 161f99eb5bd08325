"""Apply attempt results to assigned rows."""

from collections.abc import Sequence
from typing import NamedTuple

from contracts.delivery.v1.events_pb2 import DeliveryAttempted
from kernel.database import Transaction
from kernel.days import first_day_bound
from services.router.domain.message import AssignedRow
from services.router.domain.results import attempt_results
from services.router.domain.transitions import (
    AppliedTransition,
    Transition,
    is_ambiguous,
    stays_with_source,
)
from services.router.store import results
from services.router.store.queues import ADD_WORK

# The state is compared together with the attempt, so that the only way to find a row is its key, as
# in ASSIGN; also about `first_day` see there.
LOAD = """
SELECT m.message_id::text, m.attempt, m.attempt_count, extract(epoch FROM m.expires_at)::float8,
    extract(epoch FROM now())::float8
FROM unnest(%(ids)s::uuid[], %(attempts)s::int[]) AS a (message_id, attempt)
JOIN router.messages AS m
    ON m.message_id = a.message_id AND m.state || m.attempt = 'assigned' || a.attempt
WHERE m.message_id >= %(first_day)s
"""

# Updates the rows, and activates their queues. A message that stays with its egress source moves to
# the queue of that source.
APPLY = f"""
WITH attempted AS (
    SELECT * FROM unnest(%(ids)s::uuid[], %(attempts)s::int[], %(states)s::text[], %(added)s::int[],
        %(dues)s::float8[], %(reasons)s::text[], %(ambiguous)s::bool[], %(classes)s::text[],
        %(replies)s::bytea[], %(stays)s::bool[])
        AS a (message_id, attempt, state, added, due, reason, ambiguous, bounce_class, reply, stays)
), applied AS (
    UPDATE router.messages AS m SET state = a.state, attempt_count = m.attempt_count + a.added,
        due_at = greatest(to_timestamp(a.due), now()), reason = a.reason,
        ambiguous = m.ambiguous OR a.ambiguous, bounce_class = a.bounce_class,
        reply = CASE WHEN a.reply = '' THEN m.reply ELSE a.reply END,
        republish_at = NULL, assignment = NULL,
        closed_at = CASE WHEN a.state <> 'queued' THEN now() END,
        queue_id = CASE WHEN a.state = 'queued' AND a.stays THEN regexp_replace(
            m.queue_id, '^([^/]+/[^/@]+)(@[^/]+)?', '\\1@' || m.egress_id) ELSE m.queue_id END
    FROM attempted AS a
    WHERE m.message_id = a.message_id AND m.state || m.attempt = 'assigned' || a.attempt
        AND m.message_id >= %(first_day)s
    RETURNING m.message_id, m.tenant_id, m.queue_id, m.state, m.due_at, m.egress_id, m.assigned_at,
        m.attempt, m.attempt_count, m.ambiguous, m.cell
), activated AS (
    INSERT INTO router.queues AS stored
        (queue_id, tenant_id, cell, site, next_at, active, first_due_at)
    SELECT queue_id, tenant_id, min(cell), split_part(split_part(queue_id, '/', 2), '@', 1),
        min(due_at), min(due_at) <= now(), min(due_at)
    FROM applied WHERE state = 'queued' GROUP BY 1, 2 ORDER BY 1
    {ADD_WORK}
)
SELECT message_id::text, attempt, attempt_count, ambiguous, extract(epoch FROM now())::float8,
    queue_id, egress_id, extract(epoch FROM assigned_at)::float8, cell
FROM applied
"""  # noqa: S608 - constants only


class AssignedRows(NamedTuple):
    rows: dict[str, AssignedRow]
    now_s: float


async def load_assigned(tx: Transaction, events: Sequence[DeliveryAttempted]) -> AssignedRows:
    """The rows that are still assigned with the attempts of these events."""
    ids = [event.message_id for event in events]
    attempts = [event.attempt for event in events]
    rows = await tx.rows(
        LOAD, {"ids": ids, "attempts": attempts, "first_day": first_day_bound(ids)}
    )
    return AssignedRows(
        {row[0]: AssignedRow._make(row[:-1]) for row in rows}, rows[0][-1] if rows else 0.0
    )


async def apply_transitions(
    tx: Transaction, transitions: Sequence[Transition]
) -> list[tuple[Transition, AppliedTransition]]:
    """Returns the applied transitions. The same statement activates queues; the scheduler receives
    the results."""
    if not transitions:
        return []
    transitions = sorted(transitions, key=lambda one: one.event.message_id)
    events = [transition.event for transition in transitions]
    ids = [event.message_id for event in events]
    rows = await tx.rows(
        APPLY,
        {
            "ids": ids,
            "first_day": first_day_bound(ids),
            "attempts": [event.attempt for event in events],
            "states": [transition.state.value for transition in transitions],
            "added": [transition.added_attempts for transition in transitions],
            "dues": [transition.due_s for transition in transitions],
            "reasons": [str(transition.reason) for transition in transitions],
            "ambiguous": [is_ambiguous(event) for event in events],
            "classes": [event.bounce_class for event in events],
            "replies": [transition.reply for transition in transitions],
            "stays": [stays_with_source(event) for event in events],
        },
    )
    applied = {(row[0], row[1]): AppliedTransition._make(row) for row in rows}
    keys = [(event.message_id, event.attempt) for event in events]
    found = [
        (transition, applied[key])
        for transition, key in zip(transitions, keys, strict=True)
        if key in applied
    ]
    by_cell: dict[str, list[tuple[DeliveryAttempted, AppliedTransition]]] = {}
    for transition, row in found:  # the cell that has assigned them counts them
        by_cell.setdefault(row.cell, []).append((transition.event, row))
    for cell, of_cell in by_cell.items():
        await results.append(tx, attempt_results(of_cell), cell)
    return found
