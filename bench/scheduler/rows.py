"""Fill a database of the router with queues and waiting messages, as the handlers leave them."""

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg

from bench.printing import ReportProgress
from contracts.ingest.v1.events_pb2 import PRIORITY_EXPRESS, MessageContext
from kernel.ids import uuid7_text
from services.router.domain.policies import DEFAULT_POOL

SITE = "site"
DOMAIN = "site.test"
CONTEXT_BYTES = 400  # of an ordinary message
STEP_ROWS = 200_000

# Message n belongs to the tenant n modulo the number of tenants.
MESSAGES = """
INSERT INTO router.messages (message_id, tenant_id, email_id, cell, queue_id, state, due_at,
    expires_at, address_hash, context)
SELECT id, tenant, id, 'default', tenant || '/site', 'queued',
    now() - interval '20 minutes' + n * interval '100 us',
    now() + interval '3 days', uuid_send(id),
    %(context)s || '\\x1a24'::bytea || convert_to(tenant::text, 'UTF8') -- field 3, 36 bytes
FROM (
    SELECT n, uuidv7() AS id,
        (%(prefix)s || lpad(to_hex(n %% %(tenants)s), 12, '0'))::uuid AS tenant
    FROM generate_series(%(first)s::bigint, %(last)s::bigint) AS n
) AS new
"""
QUEUES = """
INSERT INTO router.queues (queue_id, tenant_id, cell, site, next_at, active, first_due_at)
SELECT tenant || '/site', tenant, 'default', 'site', now(), true, '-infinity'
FROM (
    SELECT (%(prefix)s || lpad(to_hex(n), 12, '0'))::uuid AS tenant
    FROM generate_series(0, %(tenants)s::bigint - 1) AS n
) AS new
ON CONFLICT (queue_id) DO UPDATE SET next_at = now(), active = true,
    version = queues.version + 1, blocked_by = '', blocked_at = NULL, first_due_at = '-infinity'
"""
SOURCES = """
INSERT INTO router.egress_sources (egress_id, pool_id, source_ip)
SELECT gen_random_uuid(), %(pool)s,
    %(net)s || '.' || n / 65536 || '.' || n / 256 %% 256 || '.' || n %% 256
FROM generate_series(1, %(sources)s::int) AS n
"""
# Each row moves twice, as one that is assigned and deferred does.
CHURN = """
UPDATE router.messages SET state = %(state)s, due_at = due_at + interval '1 minute'
WHERE message_id IN (SELECT message_id FROM router.messages ORDER BY message_id LIMIT %(rows)s)
"""
# As the scheduler has recorded while these rows left.
FIRST_DUE = """
UPDATE router.queues SET first_due_at = (
    SELECT min(due_at) FROM router.messages
    WHERE messages.queue_id = queues.queue_id AND state = 'queued')
"""
EMPTY = "TRUNCATE router.messages, router.queues, router.counters, router.results, router.outbox"
Connection = psycopg.Connection[tuple[object, ...]]


def tenant_prefix(group: int) -> str:
    """Of the ids of a group of tenants, which ends with the number of the tenant."""
    return f"019ab000-0000-7000-8{group:03x}-"


def context() -> bytes:
    message = MessageContext(
        message_id=uuid7_text(), recipient=f"ann@{DOMAIN}", priority=PRIORITY_EXPRESS
    )
    message.sender = "s" * max(1, CONTEXT_BYTES - message.ByteSize())
    return message.SerializeToString()


class Rows:
    """A database, as its owner writes to it."""

    def __init__(self, url: str) -> None:
        self._url = url

    def connect(self) -> Connection:
        return psycopg.connect(self._url, autocommit=True)

    def empty(self) -> None:
        with self.connect() as connection:
            connection.execute(EMPTY)
            connection.execute("DELETE FROM router.leases")

    def analyze(self) -> None:
        """As autovacuum does soon after so many rows have changed."""
        with self.connect() as connection:
            connection.execute("ANALYZE router.messages, router.queues")

    def add_sources(self, number: int) -> None:
        with self.connect() as connection:
            connection.execute(SOURCES, {"pool": DEFAULT_POOL, "net": "10", "sources": number})

    def add_pool(self, pool_id: str, sources: int) -> None:
        with self.connect() as connection:
            named = "INSERT INTO router.pools (pool_id, name) VALUES (%s, 'other')"
            connection.execute(named, (pool_id,))
            connection.execute(SOURCES, {"pool": pool_id, "net": "11", "sources": sources})

    def place_pool(self, pool_id: str, cell: str) -> None:
        """While nobody owns a cell. The tenants of both pools have not sent yet."""
        with self.connect() as connection:
            added = (
                "INSERT INTO router.cells (cell, position)"
                " SELECT %s, count(*) FROM router.cells ON CONFLICT DO NOTHING"
            )
            connection.execute(added, (cell,))
            placed = "UPDATE router.pools SET cell = %s WHERE pool_id = %s"
            connection.execute(placed, (cell, pool_id))
            connection.execute("TRUNCATE router.tenant_pools")

    def put_in_cell(self, group: int, cell: str) -> None:
        """The queues of a group of tenants."""
        with self.connect() as connection:
            connection.execute(
                "UPDATE router.queues SET cell = %s WHERE starts_with(queue_id, %s)",
                (cell, tenant_prefix(group)),
            )

    def fill(
        self,
        messages: int,
        *,
        tenants: int,
        group: int,
        report_progress: ReportProgress = lambda *_: None,
    ) -> None:
        """Add waiting messages to the queues of a group of tenants."""
        params = {"prefix": tenant_prefix(group), "tenants": tenants, "context": context()}
        with self.connect() as connection:
            connection.execute("SET synchronous_commit = off")
            connection.execute("SELECT router.ensure_day_partition('messages', current_date)")
            for first in range(0, messages, STEP_ROWS):
                report_progress("waiting messages", first, messages)
                last = min(first + STEP_ROWS, messages) - 1
                connection.execute(MESSAGES, params | {"first": first, "last": last})
            connection.execute(QUEUES, params)

    def has_active_queues(self) -> bool:
        with self.connect() as connection:
            return connection.execute("SELECT FROM router.queues WHERE active").rowcount > 0

    def churn(self, rows: int) -> None:
        with self.connect() as connection:
            connection.execute("SET synchronous_commit = off")
            for state in ("assigned", "queued"):
                connection.execute(CHURN, {"state": state, "rows": rows})
            connection.execute(FIRST_DUE)

    def write_back(self) -> None:
        """Write to disk what filling has changed, so that ticks do not compete with it."""
        with self.connect() as connection:
            connection.execute("CHECKPOINT")

    @contextmanager
    def old_snapshot(self) -> Iterator[None]:
        """A transaction that keeps vacuum from removing what changes meanwhile."""
        with psycopg.connect(self._url) as connection:
            connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
            connection.execute("SELECT count(*) FROM router.queues")
            yield
