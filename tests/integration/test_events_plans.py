"""The pages that statements of events read with many endpoints and emails."""

import asyncio
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

import psycopg

from kernel.database import RowOwner, Transaction
from kernel.days import day_of, id_bounds
from kernel.ids import uuid7_text
from services.events.store import lists, log, plan_retention
from services.events.store.webhook_deliveries import CLAIM
from tests.support.stack import FreshDatabase

ENDPOINTS = """
INSERT INTO events.webhooks (id, owner_id, url, event_types, secret)
SELECT gen_random_uuid(), gen_random_uuid(), '', '{}', '' FROM generate_series(1, 5000)
"""
DELIVERIES = """
INSERT INTO events.webhook_deliveries (endpoint_id, position, event_id, subject_id, owner_id, type,
    due_at)
SELECT w.id, %s, %s, %s, w.owner_id, '', now() - interval '1 s'
FROM (SELECT * FROM events.webhooks LIMIT 3) AS w
"""
ACCOUNTS = """
INSERT INTO events.tenant_accounts (tenant_id, account_id)
SELECT gen_random_uuid(), gen_random_uuid() FROM generate_series(1, 20000)
UNION ALL SELECT id, gen_random_uuid() FROM unnest(%s::uuid[]) AS id
"""
EMAILS = """
INSERT INTO events.emails (tenant_id, email_id, message_id, rank, sent)
SELECT %s, id, id, 3, true FROM unnest(%s::uuid[]) AS id
"""
STATES = """
INSERT INTO events.state (tenant_id, email_id, subject_id, recipient, domain, seq, public_seq, rank,
    closed)
SELECT %s, id, id, 'a@x.net', 'x.net', 1, 1, 3, 1 FROM unnest(%s::uuid[]) AS id
"""

FILTERED = (
    """
INSERT INTO events.emails (tenant_id, email_id, message_id, rank, sent, account_id)
SELECT gen_random_uuid(), id, id, 3, true, CASE WHEN n %% 100 = 0 THEN %(account)s::uuid
    ELSE gen_random_uuid() END
FROM unnest(%(ids)s::uuid[]) WITH ORDINALITY AS e (id, n)
""",
    """
INSERT INTO events.state (tenant_id, email_id, subject_id, recipient, domain, seq, public_seq, rank,
    closed, account_id)
SELECT tenant_id, email_id, message_id, 'a@x.net', 'x.net', 1, 1, 3, 1, account_id
FROM events.emails WHERE email_id = ANY(%(ids)s::uuid[])
""",
    """
INSERT INTO events.tags (tenant_id, tag, email_id, account_id)
SELECT tenant_id, 'a', email_id, account_id FROM events.emails
WHERE email_id = ANY(%(ids)s::uuid[])
""",
)


def pages_read(found: object) -> int:
    plan = cast(list[dict[str, Any]], found)[0]["Plan"]
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


def explain(sql: str) -> bytes:
    return f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}".encode()


def test_due_deliveries_are_found_without_reading_every_endpoint(database: FreshDatabase) -> None:
    params = {"capacity": 5, "busy": [], "capacities": [], "token": str(uuid4()), "lease_s": 30}
    with database.connect() as connection:
        connection.execute(ENDPOINTS)
        connection.execute(DELIVERIES, [uuid7_text()] * 3)
        connection.execute("ANALYZE events.webhooks, events.webhook_deliveries")
        [(found,)] = connection.execute(explain(CLAIM), cast(Any, params)).fetchall()
        [(claimed,)] = connection.execute(
            "SELECT count(*) FROM events.webhook_deliveries WHERE token IS NOT NULL"
        ).fetchall()
    assert claimed == 3
    assert pages_read(found) < 300


def test_the_endpoints_of_a_batch_are_read_by_an_index(database: FreshDatabase) -> None:
    """Those of 100 tenants and of their accounts, among 5,000 endpoints and 20,000 tenants."""
    seen: list[tuple[str, Any]] = []

    async def rows(sql: str, params: Any) -> list[Any]:  # noqa: ANN401 - of psycopg
        seen.append((sql, params))
        return [([], [], None, None, "1")]

    tenants = [str(uuid4()) for _ in range(100)]
    tx = cast(Transaction, SimpleNamespace(rows=rows))
    asyncio.run(log.insert_new(tx, emails=[], states=[], accounts=dict.fromkeys(tenants, "")))
    [(sql, params)] = seen
    with database.connect() as connection:
        connection.execute("SET plan_cache_mode = force_generic_plan")
        connection.execute(ENDPOINTS)
        connection.execute(ACCOUNTS, (tenants,))
        connection.execute("ANALYZE events.webhooks, events.tenant_accounts")
        [(found,)] = connection.execute(explain(sql), params, prepare=True).fetchall()
        plan = str(found)
    assert "Seq Scan" not in plan
    assert pages_read(found) < 1_000


def pages_of_list(
    connection: psycopg.Connection[Any], owner: RowOwner, email_filter: lists.EmailFilter
) -> int:
    """Read for a page of emails."""
    read: list[int] = []

    async def rows(sql: str, params: Mapping[str, Any] | tuple[Any, ...]) -> list[Any]:
        [(found,)] = connection.execute(explain(sql), params).fetchall()
        read.append(pages_read(found))
        return []

    tx = cast(Transaction, SimpleNamespace(rows=rows))
    asyncio.run(lists.list_emails(tx, owner, email_filter=email_filter, limit=21))
    return read[0]


def test_a_deep_page_of_emails_reads_no_more_than_the_first(
    database: FreshDatabase,
) -> None:
    tenant, ids = str(uuid4()), [uuid7_text() for _ in range(20_000)]
    with database.connect() as connection:
        connection.execute(EMAILS, (tenant, ids))
        connection.execute("ANALYZE events.emails")
        email_filter = lists.EmailFilter(after=ids[10_000])
        assert pages_of_list(connection, RowOwner(tenant, None), email_filter) < 100


def test_a_page_of_a_day_that_is_deleted_reads_no_more_where_all_is_kept(
    database: FreshDatabase,
) -> None:
    tenant, ids = str(uuid4()), [uuid7_text() for _ in range(20_000)]
    low, high = id_bounds(day_of(ids[0]))
    with database.connect() as connection:
        connection.execute(EMAILS, (tenant, ids))
        connection.execute(STATES, (tenant, ids))
        connection.execute("ANALYZE events.emails, events.state")
        given: dict[str, Any] = {"low": low, "high": high, "kept": [tenant], "limit": 50}
        for table in plan_retention.TABLES:
            if table.name in {"emails", "state"}:
                params = given | dict.fromkeys(table.key, plan_retention.FIRST)
                [(found,)] = connection.execute(explain(table.delete), params).fetchall()
                assert pages_read(found) < 150, table.name


def test_a_filtered_page_reads_only_what_it_shows(database: FreshDatabase) -> None:
    """Every email is of another tenant, and every hundredth is of the account."""
    account, ids = str(uuid4()), [uuid7_text() for _ in range(20_000)]
    with database.connect() as connection:
        for fill in FILTERED:
            connection.execute(fill, {"account": account, "ids": ids})
        connection.execute("ANALYZE events.emails, events.state, events.tags")
        owner, middle = RowOwner(None, account), ids[10_000]
        filters: list[dict[str, Any]] = [{"to": "a@x.net"}, {"domain": "x.net"}, {"tag": "a"}]
        for given in filters:
            email_filter = lists.EmailFilter(after=middle, **given)
            assert pages_of_list(connection, owner, email_filter) < 200, given
