"""Webhook tasks: one per event and endpoint, claimed by lease."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from kernel import ids
from kernel.database import Row, Transaction
from services.events.domain.endpoint import Endpoint

WAITING, DELIVERED, FAILED = 0, 1, 2


# From endpoint to endpoint by a skip scan over (endpoint_id, due_at): most have nothing due.
CLAIM = """
    WITH RECURSIVE waiting AS (
        (SELECT endpoint_id AS id FROM events.webhook_tasks
         WHERE state = 0 AND due_at <= now() ORDER BY endpoint_id LIMIT 1)
        UNION ALL
        SELECT (SELECT endpoint_id FROM events.webhook_tasks
                WHERE state = 0 AND due_at <= now() AND endpoint_id > waiting.id
                ORDER BY endpoint_id LIMIT 1)
        FROM waiting WHERE waiting.id IS NOT NULL
    ), ready AS (
        SELECT id, coalesce(busy.room, %(room)s) AS room
        FROM waiting JOIN events.webhooks USING (id)
        LEFT JOIN unnest(%(busy)s::uuid[], %(rooms)s::int[]) AS busy(id, room) USING (id)
        WHERE enabled AND deleted_at IS NULL AND probe_at IS NULL
    ), probes AS (
        SELECT id, 1 AS room FROM events.webhooks WHERE id IN (SELECT id FROM waiting)
            AND enabled AND deleted_at IS NULL AND probe_at <= now() FOR UPDATE SKIP LOCKED
    ), due AS (
        SELECT task.* FROM (SELECT * FROM ready UNION ALL SELECT * FROM probes) AS endpoint
        CROSS JOIN LATERAL (
            SELECT endpoint_id, position FROM events.webhook_tasks
            WHERE endpoint_id = endpoint.id AND state = 0 AND due_at <= now()
            ORDER BY due_at LIMIT endpoint.room FOR UPDATE SKIP LOCKED
        ) AS task LIMIT 1000
    ), probed AS (
        UPDATE events.webhooks SET probe_at = now() + make_interval(secs => %(lease_s)s)
        WHERE id IN (SELECT id FROM probes) AND id IN (SELECT endpoint_id FROM due)
    )
    UPDATE events.webhook_tasks t
    SET token = %(token)s, due_at = now() + make_interval(secs => %(lease_s)s)
    FROM due JOIN events.webhooks w ON w.id = due.endpoint_id
    WHERE t.endpoint_id = due.endpoint_id AND t.position = due.position
    RETURNING t.event_id::text, t.subject_id::text, t.position::text, t.type, t.tries,
        extract(epoch FROM now() - t.created_at)::float8,
        w.id::text, w.tenant_id::text, w.url, w.secret, w.event_types, w.failures
"""


class NewTask(NamedTuple):
    """token: of the claim that it is born with; None: due now, for whoever comes first."""

    endpoint_id: str
    position: str
    event_id: str
    subject_id: str
    tenant_id: str
    type: str
    token: str | None


@dataclass(frozen=True, slots=True)
class Claimed:
    event_id: str
    subject_id: str
    position: str
    type: str
    tries: int
    age_s: float
    endpoint: Endpoint


class Held(NamedTuple):
    """A claim."""

    endpoint_id: str
    position: str
    token: str


class Result(NamedTuple):
    """The end of a try. delay_s: until the next, where there is one."""

    endpoint_id: str
    position: str
    token: str
    state: int
    delay_s: float
    tries: int
    status: int
    error: str


async def claim(
    tx: Transaction, token: str, *, rooms: Mapping[str, int], room: int, lease_s: float
) -> list[Claimed]:
    """Due tasks of each endpoint, as many as there is room for it here; of a failing one a single
    task when its probe is due, and nobody else probes meanwhile.

    rooms: of the endpoints that are busy here; room: of any other.
    """
    rows = await tx.rows(
        CLAIM,
        {
            "room": room,
            "busy": list(rooms),
            "rooms": list(rooms.values()),
            "token": token,
            "lease_s": lease_s,
        },
    )
    return [
        Claimed(row[0], row[1], row[2], row[3], row[4], row[5], Endpoint(*row[6:])) for row in rows
    ]


async def settle(tx: Transaction, results: Sequence[Result]) -> None:
    """Write down what is still ours."""
    await tx.execute(
        "UPDATE events.webhook_tasks t SET state = v.state, tries = v.tries, status = v.status,"
        " error = v.error, token = NULL, due_at = now() + make_interval(secs => v.delay_s)"
        " FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[], %s::smallint[], %s::float8[],"
        " %s::smallint[], %s::smallint[], %s::text[])"
        " AS v(endpoint_id, position, token, state, delay_s, tries, status, error)"
        " WHERE t.endpoint_id = v.endpoint_id AND t.position = v.position AND t.token = v.token",
        [list(column) for column in zip(*results, strict=True)],
    )


async def put_back(tx: Transaction, held: Sequence[Held], *, delay_s: float) -> None:
    """Claims that come to nothing: for whoever comes next, without counting a try."""
    await tx.execute(
        "UPDATE events.webhook_tasks t SET token = NULL,"
        " due_at = now() + make_interval(secs => %s)"
        " FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[]) AS v(endpoint_id, position, token)"
        " WHERE t.endpoint_id = v.endpoint_id AND t.position = v.position AND t.token = v.token",
        [delay_s, *([list(column) for column in zip(*held, strict=True)])],
    )


async def page(tx: Transaction, endpoint_id: str, *, after: str, limit: int) -> list[Row]:
    """The tasks of an endpoint, newest first; of a disabled one none waits any more."""
    return await tx.rows(
        "SELECT t.position::text, t.type, t.tries,"
        " CASE WHEN t.state = 0 AND NOT w.enabled THEN 2 ELSE t.state END,"
        " t.status, t.error, t.due_at"
        " FROM events.webhook_tasks t JOIN events.webhooks w ON w.id = t.endpoint_id"
        " WHERE t.endpoint_id = %(endpoint)s"
        " AND t.position < %(after)s"
        " ORDER BY t.position DESC LIMIT %(limit)s",
        {"endpoint": endpoint_id, "after": after or ids.MAX, "limit": limit},
    )
