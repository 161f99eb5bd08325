"""Recoveries of webhook endpoints: at most one of each, read page by page."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple

from kernel.database import Transaction
from kernel.ids import NIL, lower_bound_at
from services.events.domain.endpoint import WebhookEndpoint
from services.events.domain.log_event import EventKind
from services.events.store.webhook_deliveries import FAILED
from services.events.store.webhooks import ENDPOINT_COLUMNS

COLUMNS = (
    "since, until, event_types, created_at, recovered, finished_at, due_at, tenant_id::text,"
    " position::text"
)
CLAIM = f"""
    SELECT {", ".join(f"r.{one}" for one in COLUMNS.split(", "))},
        {ENDPOINT_COLUMNS}
    FROM events.webhook_recoveries r JOIN events.webhooks w ON w.id = r.endpoint_id
    WHERE r.finished_at IS NULL AND r.due_at <= now() AND w.enabled AND w.deleted_at IS NULL
    ORDER BY r.due_at LIMIT 1 FOR UPDATE OF r SKIP LOCKED
"""  # noqa: S608 - constants
OWNERS = """
    SELECT id::text FROM (
        SELECT tenant_id AS id FROM events.tenant_accounts WHERE account_id = %(account)s
            AND (cardinality(%(tenants)s::uuid[]) = 0 OR tenant_id = ANY(%(tenants)s::uuid[]))
        UNION ALL SELECT %(account)s::uuid WHERE cardinality(%(tenants)s::uuid[]) = 0
    ) AS owner WHERE id > %(after)s ORDER BY id LIMIT 1
"""
_EVENTS = """
        (SELECT position, event_id, subject_id, kind, payload FROM events.{table}
         WHERE tenant_id = %(tenant)s AND public_seq > 0 AND kind <> %(test)s
            AND position > %(after)s AND position < %(before)s ORDER BY position LIMIT %(limit)s)
"""
EVENTS = f"""
    SELECT position::text, event_id::text, subject_id::text, kind, payload FROM (
        {_EVENTS.format(table="log")} UNION ALL {_EVENTS.format(table="unpartitioned_log")}
    ) AS event ORDER BY position LIMIT %(limit)s
"""  # noqa: S608 - constants
# Only what is missing or has failed: what waits or was delivered does not change.
QUEUE = """
    INSERT INTO events.webhook_deliveries AS existing
        (endpoint_id, position, event_id, subject_id, owner_id, type, due_at)
    SELECT %s, v.position, v.event_id, v.subject_id, %s, v.type, now()
    FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[], %s::text[])
        AS v(position, event_id, subject_id, type)
    ON CONFLICT (endpoint_id, position) DO UPDATE
        SET state = 0, attempt_count = 0, token = NULL, due_at = now()
        WHERE existing.state = %s
"""


class RecoveryProgress(NamedTuple):
    """tenant_id: whose events are read, up to a position; None if none were read yet."""

    since: datetime
    until: datetime
    event_types: Sequence[str]
    created_at: datetime
    recovered: int
    finished_at: datetime | None
    due_at: datetime
    tenant_id: str | None
    position: str


@dataclass(frozen=True, slots=True)
class RecoveryUpdate:
    """What a page adds to a recovery. tenant_id and position: as in RecoveryProgress; without a
    tenant, the recovery has ended. delay_s: until the next page."""

    tenant_id: str | None
    position: str
    recovered: int
    delay_s: float


class LoggedEventRow(NamedTuple):
    position: str
    event_id: str
    subject_id: str
    kind: int
    payload: bytes


class RecoverableEvent(NamedTuple):
    """An event that is to be sent."""

    position: str
    event_id: str
    subject_id: str
    type: str


def first_position(since: datetime) -> str:
    return str(lower_bound_at(since))


async def start(
    tx: Transaction,
    endpoint_id: str,
    *,
    owner_id: str,
    since: datetime,
    until: datetime,
    event_types: Sequence[str],
    due_at: datetime,
) -> RecoveryProgress | None:
    """None while another one of the endpoint is in progress."""
    rows = await tx.rows(
        "INSERT INTO events.webhook_recoveries AS existing"  # noqa: S608 - constants
        " (endpoint_id, owner_id, since, until, event_types, due_at, position)"
        " VALUES (%s, %s, %s, %s, %s::text[], greatest(now(), %s), %s)"
        " ON CONFLICT (endpoint_id) DO UPDATE SET since = excluded.since, until = excluded.until,"
        " event_types = excluded.event_types, created_at = now(), due_at = excluded.due_at,"
        " tenant_id = NULL, position = excluded.position, recovered = 0, finished_at = NULL"
        f" WHERE existing.finished_at IS NOT NULL RETURNING {COLUMNS}",
        (endpoint_id, owner_id, since, until, list(event_types), due_at, first_position(since)),
    )
    return RecoveryProgress(*rows[0]) if rows else None


async def load(tx: Transaction, endpoint_id: str) -> RecoveryProgress | None:
    """The latest one."""
    rows = await tx.rows(
        f"SELECT {COLUMNS} FROM events.webhook_recoveries WHERE endpoint_id = %s",  # noqa: S608
        (endpoint_id,),
    )
    return RecoveryProgress(*rows[0]) if rows else None


async def claim_due(tx: Transaction) -> tuple[RecoveryProgress, WebhookEndpoint] | None:
    """Lock one whose next page is due, until the end of the transaction."""
    rows = await tx.rows(CLAIM)
    if not rows:
        return None
    size = len(RecoveryProgress._fields)
    return RecoveryProgress(*rows[0][:size]), WebhookEndpoint(*rows[0][size:])


async def next_owner(
    tx: Transaction, endpoint: WebhookEndpoint, *, after: str | None
) -> str | None:
    """Whose events come next: those of the endpoint's tenant, or of its account and the tenants of
    it that the endpoint has."""
    if not endpoint.account_wide:
        return None if after else endpoint.owner_id
    rows = await tx.rows(
        OWNERS,
        {
            "account": endpoint.owner_id,
            "tenants": list(endpoint.tenant_ids),
            "after": after or NIL,
        },
    )
    return str(rows[0][0]) if rows else None


async def read_events(
    tx: Transaction, tenant_id: str, *, after: str, before: str, limit: int
) -> list[LoggedEventRow]:
    """The public events of a tenant or account between two positions, oldest first, without those
    of tests of endpoints."""
    rows = await tx.rows(
        EVENTS,
        {
            "tenant": tenant_id,
            "test": int(EventKind.WEBHOOK_TEST),
            "after": after,
            "before": before,
            "limit": limit,
        },
    )
    return [LoggedEventRow(*row) for row in rows]


async def received_or_waiting(
    tx: Transaction, endpoint_id: str, positions: Collection[str]
) -> set[str]:
    """Those of the events that were delivered to the endpoint, or wait for it."""
    rows = await tx.rows(
        "SELECT position::text FROM events.webhook_deliveries"
        " WHERE endpoint_id = %s AND position = ANY(%s::uuid[]) AND state <> %s",
        (endpoint_id, list(positions), FAILED),
    )
    return {row[0] for row in rows}


async def queue(
    tx: Transaction, endpoint: WebhookEndpoint, some: Sequence[RecoverableEvent]
) -> int:
    """Queue events that the endpoint has missed or that have failed; returns how many."""
    columns = [list(column) for column in zip(*some, strict=True)]
    return await tx.execute(QUEUE, [endpoint.id, endpoint.owner_id, *columns, FAILED])


async def record_page(tx: Transaction, endpoint_id: str, page: RecoveryUpdate) -> None:
    await tx.execute(
        "UPDATE events.webhook_recoveries SET tenant_id = %(tenant)s, position = %(position)s,"
        " recovered = recovered + %(recovered)s,"
        " due_at = now() + make_interval(secs => %(delay_s)s),"
        " finished_at = CASE WHEN %(tenant)s::uuid IS NULL THEN now() END"
        " WHERE endpoint_id = %(endpoint)s",
        {
            "endpoint": endpoint_id,
            "tenant": page.tenant_id,
            "position": page.position,
            "recovered": page.recovered,
            "delay_s": page.delay_s,
        },
    )
