"""What the statement that looks for due webhook tasks reads, however many endpoints there are."""

from typing import Any, cast
from uuid import uuid4

from kernel.ids import uuid7_text
from services.events.store.tasks import CLAIM
from tests.support.pair import FreshDatabase

ENDPOINTS = """
INSERT INTO events.webhooks (id, tenant_id, url, event_types, secret)
SELECT gen_random_uuid(), gen_random_uuid(), '', '{}', '' FROM generate_series(1, 5000)
"""
TASKS = """
INSERT INTO events.webhook_tasks (endpoint_id, position, event_id, subject_id, tenant_id, type,
    due_at)
SELECT w.id, %s, %s, %s, w.tenant_id, '', now() - interval '1 s'
FROM (SELECT * FROM events.webhooks LIMIT 3) AS w
"""


def test_due_tasks_are_found_without_reading_every_endpoint(database: FreshDatabase) -> None:
    params = {"room": 5, "busy": [], "rooms": [], "token": str(uuid4()), "lease_s": 30}
    explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {CLAIM}".encode()
    with database.connect() as connection:
        connection.execute(ENDPOINTS)
        connection.execute(TASKS, [uuid7_text()] * 3)
        connection.execute("ANALYZE events.webhooks, events.webhook_tasks")
        [(found,)] = connection.execute(explain, cast(Any, params)).fetchall()
        [(claimed,)] = connection.execute(
            "SELECT count(*) FROM events.webhook_tasks WHERE token IS NOT NULL"
        ).fetchall()
    plan = cast(list[dict[str, Any]], found)[0]["Plan"]
    assert claimed == 3
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 300
