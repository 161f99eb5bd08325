"""Webhook deliveries: one per event and endpoint, claimed by lease."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from kernel import ids
from kernel.database import Transaction
from services.events.domain.endpoint import WebhookEndpoint
from services.events.domain.webhook_attempt_record import ATTEMPTS_MAX
from services.events.store.webhooks import ENDPOINT_COLUMNS

QUEUED, DELIVERED, FAILED = 0, 1, 2


# A skip scan over (endpoint_id, due_at) goes from endpoint to endpoint: most have nothing due.
DUE_ENDPOINTS = """
    WITH RECURSIVE due_endpoints AS (
        (SELECT endpoint_id AS id FROM events.webhook_deliveries
         WHERE state = 0 AND due_at <= now() ORDER BY endpoint_id LIMIT 1)
        UNION ALL
        SELECT (SELECT endpoint_id FROM events.webhook_deliveries
                WHERE state = 0 AND due_at <= now() AND endpoint_id > due_endpoints.id
                ORDER BY endpoint_id LIMIT 1)
        FROM due_endpoints WHERE due_endpoints.id IS NOT NULL
    )
"""
CLAIM = f"""{DUE_ENDPOINTS}, ready AS (
        SELECT id, coalesce(busy.capacity, %(capacity)s) AS capacity
        FROM due_endpoints JOIN events.webhooks USING (id)
        LEFT JOIN unnest(%(busy)s::uuid[], %(capacities)s::int[]) AS busy(id, capacity) USING (id)
        WHERE enabled AND deleted_at IS NULL AND probe_at IS NULL
    ), probes AS (
        SELECT id, 1 AS capacity FROM events.webhooks WHERE id IN (SELECT id FROM due_endpoints)
            AND enabled AND deleted_at IS NULL AND probe_at <= now() FOR UPDATE SKIP LOCKED
    ), due AS (
        SELECT delivery.* FROM (SELECT * FROM ready UNION ALL SELECT * FROM probes) AS endpoint
        CROSS JOIN LATERAL (
            SELECT endpoint_id, position FROM events.webhook_deliveries
            WHERE endpoint_id = endpoint.id AND state = 0 AND due_at <= now()
            ORDER BY due_at LIMIT endpoint.capacity FOR UPDATE SKIP LOCKED
        ) AS delivery LIMIT 1000
    ), probed AS (
        UPDATE events.webhooks SET probe_at = now() + make_interval(secs => %(lease_s)s)
        WHERE id IN (SELECT id FROM probes) AND id IN (SELECT endpoint_id FROM due)
    )
    UPDATE events.webhook_deliveries t
    SET token = %(token)s, due_at = now() + make_interval(secs => %(lease_s)s)
    FROM due JOIN events.webhooks w ON w.id = due.endpoint_id
    WHERE t.endpoint_id = due.endpoint_id AND t.position = due.position
    RETURNING t.event_id::text, t.subject_id::text, t.position::text, t.type, t.attempt_count,
        extract(epoch FROM now() - t.created_at)::float8,
        cardinality(t.attempts) = 0, {ENDPOINT_COLUMNS}
"""  # noqa: S608 - a constant


BACKLOG = f"""{DUE_ENDPOINTS}
    SELECT extract(epoch FROM now() - min(oldest.due_at))::float8
    FROM due_endpoints JOIN events.webhooks USING (id)
    CROSS JOIN LATERAL (
        SELECT due_at FROM events.webhook_deliveries
        WHERE endpoint_id = id AND state = 0 ORDER BY due_at LIMIT 1
    ) AS oldest
    WHERE enabled AND deleted_at IS NULL AND probe_at IS NULL
"""  # noqa: S608 - constants


class NewWebhookDelivery(NamedTuple):
    """owner_id: of the endpoint. token: of the first claim; None for an unclaimed delivery that is
    due now."""

    endpoint_id: str
    position: str
    event_id: str
    subject_id: str
    owner_id: str
    type: str
    token: str | None


@dataclass(frozen=True, slots=True)
class ClaimedWebhookDelivery:
    """is_new: it was never attempted."""

    event_id: str
    subject_id: str
    position: str
    type: str
    attempt_count: int
    age_s: float
    is_new: bool
    endpoint: WebhookEndpoint


class WebhookDeliveryClaim(NamedTuple):
    """The claim of a delivery, proven by its token."""

    endpoint_id: str
    position: str
    token: str


class WebhookDeliveryUpdate(NamedTuple):
    """The result of an attempt. delay_s: until the next attempt, if there is one. record: an
    encoded WebhookAttemptRecord."""

    endpoint_id: str
    position: str
    token: str
    state: int
    delay_s: float
    attempt_count: int
    status: int
    error: str
    record: str


async def claim_due(
    tx: Transaction, token: str, *, capacities: Mapping[str, int], capacity: int, lease_s: float
) -> list[ClaimedWebhookDelivery]:
    """Claim due deliveries of each endpoint, up to its capacity. A failing endpoint gets one
    delivery when its probe is due; then no other replica probes it during the lease.

    capacities: of the endpoints that are busy in this process; capacity: of any other.
    """
    rows = await tx.rows(
        CLAIM,
        {
            "capacity": capacity,
            "busy": list(capacities),
            "capacities": list(capacities.values()),
            "token": token,
            "lease_s": lease_s,
        },
    )
    return [
        ClaimedWebhookDelivery(
            row[0], row[1], row[2], row[3], row[4], row[5], row[6], WebhookEndpoint(*row[7:])
        )
        for row in rows
    ]


async def backlog_age_s(tx: Transaction) -> float:
    """How long the oldest delivery has been due that nobody has claimed; 0 without one. Those to
    failing endpoints wait for them."""
    [(age_s,)] = await tx.rows(BACKLOG)
    return age_s or 0.0


async def record_attempts(tx: Transaction, results: Sequence[WebhookDeliveryUpdate]) -> None:
    """Record the results of attempts whose claim is still valid."""
    await tx.execute(
        "UPDATE events.webhook_deliveries t SET state = v.state,"  # noqa: S608 - a constant
        " attempt_count = v.attempt_count, status = v.status,"
        " error = v.error, token = NULL, due_at = now() + make_interval(secs => v.delay_s),"
        " attempts = t.attempts"
        f"[greatest(1, cardinality(t.attempts) - {ATTEMPTS_MAX - 2}):] || v.record"
        " FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[], %s::smallint[], %s::float8[],"
        " %s::smallint[], %s::smallint[], %s::text[], %s::text[])"
        " AS v(endpoint_id, position, token, state, delay_s, attempt_count, status, error, record)"
        " WHERE t.endpoint_id = v.endpoint_id AND t.position = v.position AND t.token = v.token",
        [list(column) for column in zip(*results, strict=True)],
    )


async def release_claims(
    tx: Transaction, claims: Sequence[WebhookDeliveryClaim], *, delay_s: float
) -> None:
    """Release claims without counting an attempt."""
    await tx.execute(
        "UPDATE events.webhook_deliveries t SET token = NULL,"
        " due_at = now() + make_interval(secs => %s)"
        " FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[]) AS v(endpoint_id, position, token)"
        " WHERE t.endpoint_id = v.endpoint_id AND t.position = v.position AND t.token = v.token",
        [delay_s, *([list(column) for column in zip(*claims, strict=True)])],
    )


async def remove(tx: Transaction, claims: Sequence[WebhookDeliveryClaim]) -> None:
    """Remove deliveries that the filters of their endpoints exclude."""
    await tx.execute(
        "DELETE FROM events.webhook_deliveries t"
        " USING unnest(%s::uuid[], %s::uuid[], %s::uuid[]) AS v(endpoint_id, position, token)"
        " WHERE t.endpoint_id = v.endpoint_id AND t.position = v.position AND t.token = v.token",
        [list(column) for column in zip(*claims, strict=True)],
    )


class WebhookDeliveryRow(NamedTuple):
    """A delivery of an endpoint. is_claimed: an attempt may be under way. attempts: encoded
    RecordedAttempts, oldest first; empty in lists."""

    position: str
    event_id: str
    subject_id: str
    type: str
    attempt_count: int
    state: int
    is_claimed: bool
    status: int
    error: str
    due_at: datetime
    attempts: Sequence[str] = ()


COLUMNS = (
    "position::text, event_id::text, subject_id::text, type, attempt_count, state,"
    " token IS NOT NULL AND due_at > now(), status, error, due_at"
)


async def list_deliveries(
    tx: Transaction, endpoint_id: str, *, after: str, limit: int
) -> list[WebhookDeliveryRow]:
    """The deliveries of an endpoint, newest first."""
    rows = await tx.rows(
        f"SELECT {COLUMNS} FROM events.webhook_deliveries"  # noqa: S608
        " WHERE endpoint_id = %(endpoint)s AND position < %(after)s"
        " ORDER BY position DESC LIMIT %(limit)s",
        {"endpoint": endpoint_id, "after": after or ids.MAX, "limit": limit},
    )
    return [WebhookDeliveryRow(*row) for row in rows]


async def load_delivery(
    tx: Transaction, endpoint_id: str, *, position: str
) -> WebhookDeliveryRow | None:
    rows = await tx.rows(
        f"SELECT {COLUMNS}, attempts FROM events.webhook_deliveries"  # noqa: S608
        " WHERE endpoint_id = %s AND position = %s",
        (endpoint_id, position),
    )
    return WebhookDeliveryRow(*rows[0]) if rows else None


async def requeue(tx: Transaction, endpoint_id: str, *, position: str) -> None:
    """Make a delivery due now, from the beginning of the schedule if it had ended; not if an
    attempt is under way."""
    await tx.execute(
        "UPDATE events.webhook_deliveries SET state = 0, token = NULL, due_at = now(),"
        " attempt_count = CASE WHEN state = 0 THEN attempt_count ELSE 0 END"
        " WHERE endpoint_id = %s AND position = %s"
        " AND (state <> 0 OR token IS NULL OR due_at <= now())",
        (endpoint_id, position),
    )
