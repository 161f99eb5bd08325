"""The pages that statements of events read with many endpoints and emails."""

import asyncio
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any, cast
from uuid import uuid4

from kernel.database import Transaction
from kernel.ids import uuid7_text
from services.events.store import lists
from services.events.store.webhook_deliveries import CLAIM
from tests.support.stack import FreshDatabase

ENDPOINTS = """
INSERT INTO events.webhooks (id, tenant_id, url, event_types, secret)
SELECT gen_random_uuid(), gen_random_uuid(), '', '{}', '' FROM generate_series(1, 5000)
"""
DELIVERIES = """
INSERT INTO events.webhook_deliveries (endpoint_id, position, event_id, subject_id, tenant_id, type,
    due_at)
SELECT w.id, %s, %s, %s, w.tenant_id, '', now() - interval '1 s'
FROM (SELECT * FROM events.webhooks LIMIT 3) AS w
"""
EMAILS = """
INSERT INTO events.emails (tenant_id, email_id, message_id, rank, sent)
SELECT %s, id, id, 3, true FROM unnest(%s::uuid[]) AS id
"""


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


def test_a_deep_page_of_emails_reads_no_more_than_the_first(
    database: FreshDatabase,
) -> None:
    tenant, ids, read = str(uuid4()), [uuid7_text() for _ in range(20_000)], list[int]()
    with database.connect() as connection:
        connection.execute(EMAILS, (tenant, ids))
        connection.execute("ANALYZE events.emails")

        async def rows(sql: str, params: Mapping[str, Any] | tuple[Any, ...]) -> list[Any]:
            [(found,)] = connection.execute(explain(sql), params).fetchall()
            read.append(pages_read(found))
            return []

        tx = cast(Transaction, SimpleNamespace(rows=rows))
        email_filter = lists.EmailFilter(after=ids[10_000])
        asyncio.run(lists.list_emails(tx, tenant, email_filter=email_filter, limit=21))
    assert read[0] < 100
