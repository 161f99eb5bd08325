"""Webhook endpoints."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

from kernel import ids
from kernel.database import Row, Transaction
from kernel.tenant_accounts import page_of_account
from services.events.domain.endpoint import WebhookEndpoint
from services.events.domain.schedule import CIRCUIT_FAILURES

LOCK_OWNER = "SELECT pg_advisory_xact_lock(hashtextextended('events.webhooks/' || %s, 0))"
PUBLIC_COLUMNS = (
    "id::text, url, event_types, enabled, disabled_reason, created_at, webhooks.owner_id::text,"
    " account_wide, tenant_ids::text[], CASE WHEN previous_until > now() THEN previous_until END,"
    " domain_ids::text[], tags, streams, svix_headers"
)
# Of an WebhookEndpoint, in order.
ENDPOINT_COLUMNS = (
    "w.id::text, w.owner_id::text, w.url, w.secret, w.event_types, w.failures, w.test,"
    " w.account_wide, w.tenant_ids::text[],"
    " CASE WHEN w.previous_until > now() THEN w.previous_secret END,"
    " w.domain_ids::text[], w.tags, w.streams, w.svix_headers, w.headers"
)
PAGE = (
    f"SELECT {PUBLIC_COLUMNS} FROM events.webhooks WHERE webhooks.owner_id = {{tenant}}"  # noqa: S608
    " AND deleted_at IS NULL AND test >= %(test_only)s AND id < %(after)s AND id > %(before)s"
    " ORDER BY webhooks.id {order} LIMIT %(limit)s"
)


def endpoint_from_json(columns: list[Any]) -> WebhookEndpoint:
    """An endpoint as `log.insert_new` reads it: in JSON. What is encrypted is a text there."""
    for encrypted in (3, 9, 14):
        columns[encrypted] = columns[encrypted] and columns[encrypted].encode()
    return WebhookEndpoint(*columns)


async def reset_failures(tx: Transaction, endpoints: Sequence[str]) -> None:
    await tx.execute(
        "UPDATE events.webhooks SET failures = 0, failing_since = NULL, probe_at = NULL"
        " WHERE id = ANY(%s::uuid[]) AND failures > 0",
        (list(endpoints),),
    )


async def count_failures(
    tx: Transaction, failures: Mapping[str, int], *, probe_s: float
) -> list[tuple[str, int, timedelta]]:
    """Count failed attempts; from CIRCUIT_FAILURES on, only probes are sent. Returns per endpoint
    the failures since its last success, and the time since the first of them."""
    ordered = sorted(failures)
    rows = await tx.rows(
        "UPDATE events.webhooks w SET failures = w.failures + v.failures,"
        " failing_since = coalesce(w.failing_since, now()),"
        " probe_at = CASE WHEN w.failures + v.failures >= %s"
        " THEN now() + make_interval(secs => %s) END"
        " FROM unnest(%s::uuid[], %s::int[]) AS v(id, failures) WHERE w.id = v.id"
        " RETURNING w.id::text, w.failures, now() - w.failing_since",
        (CIRCUIT_FAILURES, probe_s, ordered, [failures[key] for key in ordered]),
    )
    return [(row[0], row[1], row[2]) for row in rows]


async def disable(
    tx: Transaction, endpoint_id: str, *, reason: str, notify: bool
) -> tuple[str, datetime] | None:
    """Disable an endpoint; returns its owner and the time, or None if it was disabled already.
    notify: whether its owner gets a mail, at most one a day."""
    rows = await tx.rows(
        "UPDATE events.webhooks SET enabled = false, disabled_reason = %s, disabled_at = now(),"
        " notice_due_at = CASE WHEN %s AND coalesce(noticed_at < now() - interval '1 day', true)"
        " THEN now() END"
        " WHERE id = %s AND enabled RETURNING owner_id::text, now()",
        (reason, notify, endpoint_id),
    )
    return (rows[0][0], rows[0][1]) if rows else None


async def insert(tx: Transaction, endpoint: WebhookEndpoint, *, limit: int) -> Row | None:
    """Insert an endpoint; returns its public columns, or None if the owner is at the limit. Those
    of one owner are inserted one after another, so that none is counted too late."""
    await tx.rows(LOCK_OWNER, (endpoint.owner_id,))
    rows = await tx.rows(
        "INSERT INTO events.webhooks (id, owner_id, url, event_types, secret, test, account_wide,"  # noqa: S608
        " tenant_ids, domain_ids, tags, streams, svix_headers, headers)"
        " SELECT %s, %s, %s, %s::text[], %s, %s, %s, %s::uuid[], %s::uuid[], %s::text[],"
        " %s::text[], %s, %s::bytea"
        " WHERE (SELECT count(*) FROM events.webhooks"
        f" WHERE owner_id = %s AND deleted_at IS NULL) < %s RETURNING {PUBLIC_COLUMNS}",
        (
            endpoint.id,
            endpoint.owner_id,
            endpoint.url,
            list(endpoint.event_types),
            endpoint.secret,
            endpoint.test,
            endpoint.account_wide,
            list(endpoint.tenant_ids),
            list(endpoint.domain_ids),
            list(endpoint.tags),
            list(endpoint.streams),
            endpoint.svix_headers,
            endpoint.headers,
            endpoint.owner_id,
            limit,
        ),
    )
    return rows[0] if rows else None


async def load_endpoint(
    tx: Transaction, tenant_id: str | None, *, endpoint_id: str, test_only: bool
) -> Row | None:
    """The public columns, then the secret and the headers, encrypted. tenant_id: None for the
    transaction's account and any of its tenants. test_only: None if it is for live mail."""
    rows = await tx.rows(
        f"SELECT {PUBLIC_COLUMNS}, secret, headers FROM events.webhooks"  # noqa: S608
        " WHERE owner_id = coalesce(%s::uuid, owner_id) AND id = %s AND deleted_at IS NULL"
        " AND test >= %s",
        (tenant_id, endpoint_id, test_only),
    )
    return rows[0] if rows else None


async def list_endpoints(
    tx: Transaction,
    *,
    tenant_id: str | None,
    account_id: str | None,
    after: str,
    before: str,
    limit: int,
    test_only: bool,
) -> list[Row]:
    """A page of a tenant or of an account, newest first; after: only older ones than this id;
    before: the nearest newer ones. test_only: without those for live mail."""
    order = "ASC" if before else "DESC"
    rows = await tx.rows(
        list_sql(of_account=tenant_id is None, order=order),
        {
            "tenant": tenant_id,
            "account": account_id,
            "after": after or ids.MAX,
            "before": before or ids.NIL,
            "limit": limit,
            "test_only": test_only,
        },
    )
    return rows[::-1] if before else rows


def list_sql(*, of_account: bool, order: str) -> str:
    """A page of a tenant, or of an account and all its tenants."""
    page = PAGE.replace("{order}", order)
    if of_account:
        return page_of_account("events", page, order=order, with_account=True)
    return page.format(tenant="%(tenant)s")


@dataclass(frozen=True, slots=True)
class EndpointChanges:
    """None: unchanged. headers: encrypted; empty for none."""

    url: str | None = None
    event_types: Sequence[str] | None = None
    enabled: bool | None = None
    tenant_ids: Sequence[str] | None = None
    domain_ids: Sequence[str] | None = None
    tags: Sequence[str] | None = None
    streams: Sequence[str] | None = None
    svix_headers: bool | None = None
    headers: bytes | None = None


async def update(tx: Transaction, endpoint_id: str, changes: EndpointChanges) -> Row | None:
    """Returns the public columns, or None if it was deleted. Its failures are forgotten, so that it
    receives what waits for it at once."""
    rows = await tx.rows(
        "UPDATE events.webhooks SET url = coalesce(%(url)s, url),"  # noqa: S608
        " event_types = coalesce(%(event_types)s::text[], event_types),"
        " enabled = coalesce(%(enabled)s, enabled),"
        " tenant_ids = coalesce(%(tenant_ids)s::uuid[], tenant_ids),"
        " domain_ids = coalesce(%(domain_ids)s::uuid[], domain_ids),"
        " tags = coalesce(%(tags)s::text[], tags),"
        " streams = coalesce(%(streams)s::text[], streams),"
        " svix_headers = coalesce(%(svix_headers)s, svix_headers),"
        " headers = nullif(coalesce(%(headers)s::bytea, headers), ''),"
        " disabled_reason = CASE WHEN %(enabled)s::bool IS NULL THEN disabled_reason ELSE '' END,"
        " failures = 0, failing_since = NULL, probe_at = NULL, notice_due_at = NULL"
        f" WHERE id = %(id)s AND deleted_at IS NULL RETURNING {PUBLIC_COLUMNS}",
        {"id": endpoint_id, **asdict(changes)},
    )
    return rows[0] if rows else None


async def rotate_secret(
    tx: Transaction, endpoint_id: str, *, secret: bytes, grace_s: int, force: bool
) -> Row | None:
    """Replace the secret; the one before signs too for grace_s. Returns the public columns, or None
    if it was deleted, or if an earlier rotation is in progress and force is false."""
    rows = await tx.rows(
        "UPDATE events.webhooks SET secret = %(secret)s,"  # noqa: S608
        " previous_secret = CASE WHEN %(grace_s)s > 0 THEN secret END,"
        " previous_until = now() + make_interval(secs => %(grace_s)s)"
        " WHERE id = %(id)s AND deleted_at IS NULL"
        " AND (%(force)s OR previous_until IS NULL OR previous_until <= now())"
        f" RETURNING {PUBLIC_COLUMNS}",
        {"id": endpoint_id, "secret": secret, "grace_s": grace_s, "force": force},
    )
    return rows[0] if rows else None


async def revoke_previous_secret(tx: Transaction, endpoint_id: str) -> Row | None:
    """From now on only the current secret signs. Returns the public columns."""
    rows = await tx.rows(
        "UPDATE events.webhooks SET previous_secret = NULL, previous_until = NULL"  # noqa: S608
        f" WHERE id = %s AND deleted_at IS NULL RETURNING {PUBLIC_COLUMNS}",
        (endpoint_id,),
    )
    return rows[0] if rows else None


async def remove(tx: Transaction, owner_id: str, *, endpoint_id: str) -> bool:
    return bool(
        await tx.execute(
            "UPDATE events.webhooks SET deleted_at = now(), enabled = false, notice_due_at = NULL"
            " WHERE owner_id = %s AND id = %s AND deleted_at IS NULL",
            (owner_id, endpoint_id),
        )
    )
