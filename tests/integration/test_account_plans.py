"""What pages of an account with ten thousand tenants cost, as the tenant role."""

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import psycopg

from kernel.database import PLANS, RowOwner, Transaction
from kernel.ids import MAX, NIL, uuid7_text
from services.events.domain.log_event import StatusRank
from services.events.store import lists, webhooks
from services.ingest.store import directory_lists
from services.router.store import requests, suppressions
from tests.support.stack import FreshDatabase

ACCOUNT, TENANTS = str(uuid4()), [str(uuid4()) for _ in range(10_000)]
EMAILS, PER_TENANT = 20_000, 20
WITHIN_S = 3.0  # ample: it is a tenth of that on an idle machine
RECORD = "INSERT INTO {}.tenant_accounts SELECT id, %s FROM unnest(%s::uuid[]) AS id"
FILL_EMAILS = """
INSERT INTO events.emails (tenant_id, email_id, message_id, rank, sent, account_id)
SELECT t.id, e.id, e.id, 3, true, %s
FROM unnest(%s::uuid[]) WITH ORDINALITY AS e (id, n)
JOIN unnest(%s::uuid[]) WITH ORDINALITY AS t (id, n) ON t.n = e.n %% 10000 + 1
"""
# Half of the mail goes to one address, a tenth has one tag.
FILL_STATE = """
INSERT INTO events.state (tenant_id, email_id, subject_id, recipient, domain, seq, public_seq, rank,
    closed, account_id)
SELECT tenant_id, email_id, message_id,
    CASE WHEN n %% 2 = 0 THEN 'sink' ELSE n::text END || '@x.net', 'x.net', 1, 1, 3, 1, account_id
FROM (SELECT *, row_number() OVER (ORDER BY email_id) AS n FROM events.emails) AS e
WHERE account_id = %s
"""
FILL_TAGS = """
INSERT INTO events.tags (tenant_id, tag, email_id, account_id)
SELECT tenant_id, 'tag', email_id, account_id
FROM (SELECT *, row_number() OVER (ORDER BY email_id) AS n FROM events.emails) AS e
WHERE account_id = %s AND n %% 10 = 0
"""
FILL_TENANTS = """
WITH account AS (INSERT INTO ingest.accounts (id, name, version, record)
    VALUES (%s, '', 1, '') RETURNING id)
INSERT INTO ingest.tenants (id, account_id, name, version, record, pool_id)
SELECT t.id, account.id, '', 1, '', CASE WHEN n %% 100 = 0 THEN t.id END
FROM account, unnest(%s::uuid[]) WITH ORDINALITY AS t (id, n)
"""
FILL_WEBHOOKS = """
INSERT INTO events.webhooks (id, owner_id, url, event_types, secret)
SELECT gen_random_uuid(), id, '', '{}', '' FROM unnest(%s::uuid[]) AS id, generate_series(1, %s)
"""
FILL_SUPPRESSIONS = """
INSERT INTO router.suppressions (owner_id, address_hash, id, address, origin, source_id)
SELECT id, int4send(n), gen_random_uuid(), 'a@x.example', '', ''
FROM unnest(%s::uuid[]) AS id, generate_series(1, %s) AS n
"""
FILL_QUEUES = """
INSERT INTO router.queues (queue_id, tenant_id, cell, site)
SELECT id || '/s' || n, id, 'default', 's' || n
FROM unnest(%s::uuid[]) AS id, generate_series(1, %s) AS n
"""


EMAIL_FILTERS: dict[str, dict[str, Any]] = {
    "emails": {},
    "sent emails": {"rank": int(StatusRank.SENT)},
    "to a sink": {"to": "sink@x.net"},
    "to a domain": {"domain": "x.net"},
    "sent to a domain": {"domain": "x.net", "rank": 3},
    "with a tag": {"tag": "tag"},
}


def email_page(given: dict[str, Any], *, until: str) -> tuple[str, dict[str, object]]:
    """The statement of a page and its parameters."""
    seen: list[tuple[str, dict[str, object]]] = []

    async def rows(sql: str, params: Any) -> list[Any]:  # noqa: ANN401 - of psycopg
        seen.append((sql, params))
        return []

    tx, owner = cast(Transaction, SimpleNamespace(rows=rows)), RowOwner(None, ACCOUNT)
    email_filter = lists.EmailFilter(**given, after=until)
    asyncio.run(lists.list_emails(tx, owner, email_filter=email_filter, limit=101))
    return seen[0]


@contextmanager
def account(
    database: FreshDatabase, service: str
) -> Iterator[psycopg.Connection[tuple[object, ...]]]:
    """A connection that sees the rows of ACCOUNT."""
    with psycopg.connect(database.tenant(service)) as connection:
        connection.execute("SELECT set_config('app.account_id', %s, false)", (ACCOUNT,))
        if service != "events":
            for setting, value in PLANS.items():
                connection.execute(f"SET {setting} = {value}".encode())
        yield connection


def seconds(
    connection: psycopg.Connection[tuple[object, ...]],
    sql: str,
    params: dict[str, object],
    rows: int,
) -> float:
    """Of the fastest of three."""
    took = []
    for _ in range(3):
        began = time.perf_counter()
        assert len(connection.execute(sql.encode(), params).fetchall()) == rows
        took.append(time.perf_counter() - began)
    return min(took)


def test_pages_of_a_large_account_are_read_in_bounded_time(database: FreshDatabase) -> None:
    with database.connect() as owner:
        for service in ("events", "router"):
            owner.execute(RECORD.format(service).encode(), (ACCOUNT, TENANTS))
        ids = [uuid7_text() for _ in range(EMAILS)]
        owner.execute(FILL_EMAILS, (ACCOUNT, ids, TENANTS))
        owner.execute(FILL_TENANTS, (ACCOUNT, TENANTS))
        for fill in (FILL_STATE, FILL_TAGS):
            owner.execute(fill, (ACCOUNT,))
        for fill in (FILL_WEBHOOKS, FILL_SUPPRESSIONS, FILL_QUEUES):
            owner.execute(fill, (TENANTS, PER_TENANT))
        owner.execute("ANALYZE")
    page: dict[str, object] = {"account": ACCOUNT, "limit": 101, "after": MAX, "before": NIL}
    took = {}
    with account(database, "events") as connection:
        for name, given in EMAIL_FILTERS.items():
            took[name] = seconds(connection, *email_page(given, until=ids[EMAILS // 2]), 101)
        sql = webhooks.list_sql(of_account=True, order="DESC")
        took["webhooks"] = seconds(connection, sql, {**page, "test_only": False}, 101)
    with account(database, "router") as connection:
        everything = suppressions.SuppressionFilter()
        for name, wanted in (
            ("suppressions", everything),
            ("suppressions of a domain", everything._replace(domain="x.example")),
        ):
            sql = suppressions.page_statement(wanted, RowOwner(None, ACCOUNT))
            took[name] = seconds(connection, sql, {**page, **wanted._asdict()}, 101)
        queues = {"sandbox": "sandbox", "test_only": False, "after": "", "first_tenant": NIL}
        took["queues"] = seconds(connection, requests.QUEUES_OF_ACCOUNT, {**page, **queues}, 101)
    with account(database, "ingest") as connection:
        sql = directory_lists.POOLS.format(owned="account_id = %(account)s")
        took["pools"] = seconds(connection, sql, page, 101)
    print({name: round(one, 4) for name, one in took.items()})
    assert max(took.values()) < WITHIN_S, took
    assert max(took[one] for one in EMAIL_FILTERS) < WITHIN_S / 10, took
