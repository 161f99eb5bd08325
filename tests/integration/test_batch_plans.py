"""Plans of the statements that change a batch of rows: they compare each row with its own id only,
also when the ids are far apart in a new partition of which PostgreSQL has no statistics yet."""

import random
from collections.abc import Iterator
from typing import Any, cast
from uuid import uuid4

import psycopg
import pytest

from kernel.database import PLANS
from kernel.days import first_day_bound
from kernel.ids import uuid7_text
from services.delivery.store.journal import COMMIT
from services.events.store.log import RANKS, STATES
from services.router.store.assignments import ASSIGN
from services.router.store.attempts import APPLY, LOAD
from services.router.store.closings import CLOSE
from tests.support.stack import FreshDatabase

ROWS, BATCH = 20_000, 200
TENANT = str(uuid4())
FILL_ROUTER = """
INSERT INTO router.messages (message_id, tenant_id, email_id, cell, queue_id, state, due_at,
    expires_at, address_hash, context)
SELECT id, %s, id, 'default', %s, 'queued', now() - interval '1 min', now() + interval '3 days',
    '', '' FROM unnest(%s::uuid[]) AS id
"""
FILL_JOURNAL = """
INSERT INTO delivery.attempts (message_id, attempt, tenant_id, epoch, not_after, assignment)
SELECT id, 1, %s, 1, now() + interval '1 hour', '' FROM unnest(%s::uuid[]) AS id
"""
FILL_EMAILS = """
INSERT INTO events.emails (tenant_id, email_id, message_id, rank, sent)
SELECT %s, id, id, 3, true FROM unnest(%s::uuid[]) AS id
"""
FILL_STATES = """
INSERT INTO events.state (email_id, subject_id, tenant_id, recipient, domain, seq, public_seq, rank,
    closed)
SELECT id, id, %s, 'ann@site.test', 'site.test', 1, 1, 1, 0 FROM unnest(%s::uuid[]) AS id
"""

Plan = dict[str, Any]
Connection = psycopg.Connection[tuple[object, ...]]


@pytest.fixture(scope="module")
def ids() -> list[str]:
    return [uuid7_text() for _ in range(ROWS)]


@pytest.fixture(scope="module")
def batch(ids: list[str]) -> list[str]:
    """Messages from everywhere in the partition, as a backlog of retries has them."""
    return sorted(random.Random(1).sample(ids, BATCH))


@pytest.fixture(scope="module")
def connection(database: FreshDatabase, ids: list[str]) -> Iterator[Connection]:
    with database.connect() as one:
        one.execute(FILL_ROUTER, (TENANT, f"{TENANT}/site", ids))
        for fill in (FILL_JOURNAL, FILL_EMAILS, FILL_STATES):
            one.execute(fill.encode(), (TENANT, ids))
        yield one


def comparisons(connection: Connection, sql: str, params: object, plans: bool) -> int:
    """The rows that all steps of the plan return or drop, when the statement is executed."""
    with connection.transaction(force_rollback=True):
        for setting, value in PLANS.items() if plans else ():
            connection.execute(f"SET LOCAL {setting} = {value}".encode())
        explain = f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}".encode()
        [(found,)] = connection.execute(explain, cast(Any, params)).fetchall()
    return sum(map(rows_of, nodes(cast(list[Plan], found)[0]["Plan"])))


def nodes(tree: Plan) -> Iterator[Plan]:
    yield tree
    for child in tree.get("Plans", ()):
        yield from nodes(child)


def rows_of(node: Plan) -> int:
    seen = ("Actual Rows", "Rows Removed by Filter", "Rows Removed by Join Filter")
    return int(sum(node.get(name, 0) for name in seen) * node["Actual Loops"])


def test_transitions_of_the_router_read_their_own_rows(
    connection: Connection, batch: list[str]
) -> None:
    given: dict[str, object] = {"ids": batch, "attempts": [0] * BATCH}
    given |= {"first_day": first_day_bound(batch)}
    assigned = {"egresses": ["e"] * BATCH, "not_afters": [0.0] * BATCH}
    assigned |= {"assignments": [b""] * BATCH, "republish_after_s": 60, "cell": "default"}
    applied = {"states": ["delivered"] * BATCH, "added": [1] * BATCH, "cell": "default"}
    applied |= {"dues": [0.0] * BATCH, "reasons": [""] * BATCH, "ambiguous": [False] * BATCH}
    applied |= {"classes": [""] * BATCH, "replies": [b""] * BATCH, "stays": [True] * BATCH}
    ends = (["failed"] * BATCH, [""] * BATCH, [""] * BATCH, [b""] * BATCH)
    assert comparisons(connection, ASSIGN, given | assigned, plans=True) < 10 * BATCH
    assert comparisons(connection, LOAD, given, plans=True) < 10 * BATCH
    assert comparisons(connection, APPLY, given | applied, plans=True) < 10 * BATCH
    closed = (batch, ["queued"] * BATCH, [0] * BATCH, *ends)
    assert comparisons(connection, CLOSE, closed, plans=True) < 10 * BATCH


def test_steps_of_the_journal_read_their_own_rows(connection: Connection, batch: list[str]) -> None:
    params: dict[str, object] = {"ids": batch, "attempts": [1] * BATCH}
    params |= {"first_day": first_day_bound(batch)}
    params |= {"epochs": [1] * BATCH, "resumed": [False] * BATCH, "sweep_after_s": 5}
    params |= {"outcomes": ["delivered"] * BATCH, "events": [b"e"] * BATCH}
    params |= {"records": [b"r"] * BATCH}
    assert comparisons(connection, COMMIT, params, plans=True) < 10 * BATCH


@pytest.mark.parametrize("analyzed", [False, True])
def test_states_of_the_log_read_their_own_rows(
    connection: Connection, batch: list[str], analyzed: bool
) -> None:
    day = first_day_bound(batch)
    numbers = [[2] * BATCH, [2] * BATCH, [1] * BATCH, [0] * BATCH, ["0"] * BATCH, ["0"] * BATCH]
    numbers.append([b""] * BATCH)
    ranks = ([TENANT] * BATCH, batch, [4] * BATCH, [-1] * BATCH, day)
    if analyzed:
        connection.execute("ANALYZE events.state, events.emails")
    # A plan may read a partition of this size once, but not once for each row of the batch.
    at_most = 3 * ROWS
    states = (batch, batch, *numbers, day)
    assert comparisons(connection, STATES, states, plans=False) < at_most
    assert comparisons(connection, RANKS, ranks, plans=False) < at_most
