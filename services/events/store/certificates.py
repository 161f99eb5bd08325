"""Certificates of the hosts of domains, their keys encrypted."""

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from contracts.ingest.v1.directory_pb2 import TrackingHost
from kernel.database import Database, Transaction
from services.events.domain.certificates import IssuedCertificate

PUT_HOSTS = """
    INSERT INTO events.certificates AS c (host, tenant_id, domain_id, active, due_at)
    SELECT given.*, now()
    FROM unnest(%s::text[], %s::uuid[], %s::uuid[], %s::boolean[])
        AS given (host, tenant_id, domain_id, active)
    ON CONFLICT (host) DO UPDATE SET active = excluded.active,
        tenant_id = excluded.tenant_id, domain_id = excluded.domain_id,
        failures = CASE WHEN excluded.active AND (NOT c.active OR c.due_at IS NULL)
            THEN 0 ELSE c.failures END,
        due_at = CASE WHEN excluded.active THEN coalesce(c.due_at, now()) ELSE c.due_at END
    WHERE (c.active, c.tenant_id, c.domain_id)
        IS DISTINCT FROM (excluded.active, excluded.tenant_id, excluded.domain_id)
"""
# Tenants take turns, and none uses up the orders of an hour: a tenant can have a thousand hosts by
# one wildcard in DNS.
DUE = """
    WITH busy AS (
        SELECT tenant_id FROM events.certificate_orders
        WHERE ordered_at > now() - interval '1 hour'
        GROUP BY tenant_id HAVING count(*) >= %s
    ), due AS (
        SELECT host, failures, not_after, tenant_id, due_at FROM events.certificates
        WHERE active AND due_at <= now() AND tenant_id NOT IN (SELECT tenant_id FROM busy)
        ORDER BY due_at LIMIT 10000
    )
    SELECT host, failures, not_after FROM (
        SELECT *, row_number() OVER (PARTITION BY tenant_id ORDER BY due_at) AS turn FROM due
    ) AS turns ORDER BY turn, due_at LIMIT %s
"""
ORDERED = """
    SELECT count(*) FROM events.certificate_orders WHERE ordered_at > now() - interval '1 hour'
"""
# What was ordered before the last hour counts no more.
CLAIM = """
    WITH old AS (
        DELETE FROM events.certificate_orders WHERE ordered_at <= now() - interval '1 hour'
    ), claimed AS (
        UPDATE events.certificates SET due_at = now() + %s WHERE host = %s RETURNING tenant_id, host
    )
    INSERT INTO events.certificate_orders (ordered_at, tenant_id, host)
        SELECT now(), tenant_id, host FROM claimed
"""
SAVE = """
    UPDATE events.certificates SET version = nextval('events.certificate_version'),
        failures = 0, problem = '', due_at = %s, not_after = %s, chain = %s, private_key = %s
    WHERE host = %s RETURNING version
"""
FAIL = """
    UPDATE events.certificates SET version = nextval('events.certificate_version'),
        failures = %s, problem = %s, due_at = now() + %s
    WHERE host = %s RETURNING version, due_at
"""
CHANGED = """
    SELECT host, version, chain, private_key FROM events.certificates
    WHERE version > %s ORDER BY version LIMIT %s
"""


class HostDueForCertificate(NamedTuple):
    """failures: of orders in a row. not_after: of the certificate that it has; None without one."""

    host: str
    failures: int
    not_after: datetime | None


class StoredCertificate(NamedTuple):
    """chain: in PEM; empty without a certificate. private_key: encrypted PEM."""

    host: str
    version: int
    chain: bytes
    private_key: bytes


async def put_hosts(tx: Transaction, records: Sequence[TrackingHost]) -> None:
    """Certificates are ordered of active hosts. One that becomes active again begins anew, but
    keeps the certificate that it has; so does one without a next order that is of another domain
    now: the host of a domain that was deleted stays active."""
    rows = [(one.host, one.tenant_id, one.domain_id, one.active) for one in records]
    await tx.execute(PUT_HOSTS, tuple([row[n] for row in rows] for n in range(4)))


async def due_hosts(
    database: Database, count: int, *, tenant_max: int
) -> list[HostDueForCertificate]:
    """tenant_max: orders of a tenant in an hour."""
    rows = await database.execute_autocommit(DUE, (tenant_max, count))
    return [HostDueForCertificate(*row) for row in rows]


async def ordered_in_an_hour(database: Database) -> int:
    [(count,)] = await database.execute_autocommit(ORDERED)
    return int(count)


async def claim(tx: Transaction, host: str, *, retry_in: object) -> None:
    """Before an order: a process that dies during it must not order again at once."""
    await tx.execute(CLAIM, (retry_in, host))


async def save_issued(
    tx: Transaction, host: str, issued: IssuedCertificate, *, sealed_key: bytes
) -> int:
    """Returns the version."""
    values = issued.renew_at, issued.not_after, issued.chain, sealed_key, host
    [(version,)] = await tx.rows(SAVE, values)
    return int(version)


async def save_failure(
    tx: Transaction, host: str, *, failures: int, problem: str, retry_in: object
) -> tuple[int, datetime | None]:
    """Returns the version, and when the host is due again."""
    [(version, due_at)] = await tx.rows(FAIL, (failures, problem, retry_in, host))
    return int(version), due_at


async def changed_after(database: Database, version: int, count: int) -> list[StoredCertificate]:
    """By version. One process at a time writes, so versions become visible in order."""
    rows = await database.execute_autocommit(CHANGED, (version, count))
    return [StoredCertificate(host, at, bytes(one), bytes(key)) for host, at, one, key in rows]
