"""Plans of router's frequent statements: they read index ranges, with any number of queued rows,
and no day partitions before those of their messages."""

from collections.abc import Iterator
from typing import Any, cast
from uuid import UUID, uuid4

import psycopg
import pytest

from kernel.database import PLANS, RowOwner
from kernel.days import day_of, first_day_bound
from kernel.ids import NIL, uuid7_text
from services.router.domain.campaigns import REASON_OF_CAMPAIGNS
from services.router.store.assignments import ASSIGN, REQUEUE
from services.router.store.assignments import SELECT_DUE as SELECT_DUE_ROWS
from services.router.store.attempts import APPLY, LOAD
from services.router.store.closings import CLOSE, REPUBLISH, SELECT_CLOSED, SELECT_EXPIRED
from services.router.store.held import COUNT, REVIEW, SCAN, VISIBLE, MessageIdRange
from services.router.store.queues import ACTIVATE, ACTIVE_BY_TENANT, WAKE
from services.router.store.requests import QUEUES as QUEUE_VIEWS
from services.router.store.requests import SELECT_TO_RECONCILE, STATES
from services.router.store.suppressions import FIND, REMOVE, SuppressionFilter, page_statement
from services.router.store.tick import SNAPSHOT
from services.router.store.unresolved import SELECT_DUE, SELECT_DUE_BY_TENANT, SELECT_DUE_MESSAGES
from tests.support.stack import FreshDatabase

QUEUED = 20_000
QUEUES = 2_000
TENANT = str(uuid4())
FILL = """
INSERT INTO router.messages (message_id, tenant_id, email_id, cell, queue_id, state, due_at,
    expires_at, address_hash, context)
SELECT id, %s, id, 'default', %s, 'queued', now() - interval '1 min', now() + interval '3 days',
    '', '' FROM unnest(%s::uuid[]) AS id
"""
FILL_QUEUES = """
INSERT INTO router.queues (queue_id, tenant_id, cell, site, next_at, active)
SELECT %s || '/s' || n, %s, 'default', 's' || n, CASE WHEN n = 7 THEN now() END, n = 7
FROM generate_series(1, %s) AS n
"""

FILL_LATER = """
INSERT INTO router.queues (queue_id, tenant_id, cell, site, next_at)
SELECT id || '/s1', id, 'default', 's1', now() + interval '1 hour'
FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, 50000)) AS tenants
"""

FILL_UNRESOLVED = """
INSERT INTO router.queues (queue_id, tenant_id, cell, site, next_at)
SELECT id || '/unresolved/d' || n, id, 'default', 'unresolved',
    now() + CASE WHEN n = 1 THEN '-1 s' ELSE '1 min' END::interval
FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, 100)) AS t, generate_series(1, 20) AS n
"""
FILL_SUPPRESSIONS = """
INSERT INTO router.suppressions (owner_id, address_hash, id, address, origin, source_id)
SELECT %s, uuid_send(id), id, 'a@x.example', 'bounce', '' FROM unnest(%s::uuid[]) AS id
"""

REVIEWER = {"tenant": TENANT, "test_only": False, "state": "queued", "reason": "", "closes": False}
Connection = psycopg.Connection[tuple[object, ...]]
Plan = dict[str, Any]


@pytest.fixture(scope="module")
def ids() -> list[str]:
    return [uuid7_text() for _ in range(QUEUED)]


@pytest.fixture(scope="module")
def connection(database: FreshDatabase, ids: list[str]) -> Iterator[Connection]:
    """Twenty thousand messages in one queue, and two thousand queues, one of them active."""
    with database.connect() as one:
        one.execute(FILL, (TENANT, f"{TENANT}/s1", ids))
        one.execute(FILL_QUEUES, (TENANT, TENANT, QUEUES))
        one.execute(FILL_LATER)
        one.execute(FILL_UNRESOLVED)
        one.execute(FILL_SUPPRESSIONS, (TENANT, ids[:5000]))
        for setting, value in PLANS.items():
            one.execute(f"SET {setting} = {value}".encode())
        yield one


def plan(connection: Connection, sql: str, params: object) -> Plan:
    """The plan of a statement that was executed and rolled back."""
    with connection.transaction(force_rollback=True):
        explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql}".encode()
        [(found,)] = connection.execute(explain, cast(Any, params)).fetchall()
    return cast(Plan, cast(list[Plan], found)[0]["Plan"])


def nodes(tree: Plan) -> Iterator[Plan]:
    yield tree
    for child in tree.get("Plans", ()):
        yield from nodes(child)


def pages(tree: Plan) -> int:
    return int(tree["Shared Hit Blocks"]) + int(tree["Shared Read Blocks"])


def days(tree: Plan) -> set[str]:
    """The partitions of messages that a plan opens."""
    names = {str(node.get("Relation Name", "")) for node in nodes(tree)}
    return {name for name in names if name.startswith("messages_")}


def test_select_due_reads_as_many_rows_as_it_returns(connection: Connection) -> None:
    assert (
        pages(
            plan(
                connection,
                SELECT_DUE_ROWS,
                (b"key", [f"{TENANT}/s1"], [10], [0.0], [TENANT], [None]),
            )
        )
        < 150
    )


def test_the_snapshot_reads_active_queues_alone(connection: Connection) -> None:
    assert pages(plan(connection, SNAPSHOT, {"cell": "default", "limit": 1000})) < 50


def test_reading_every_tenant_skips_those_with_later_mail(
    connection: Connection,
) -> None:
    params = {"cell": "default", "each": 10, "limit": 1000, "after": str(NIL)}
    assert pages(plan(connection, ACTIVE_BY_TENANT, params)) < 50


def test_waking_queues_reads_those_alone(connection: Connection) -> None:
    params: dict[str, object] = {"cell": "default", "scopes": ["tenant/a"], "counts": [10]}
    params |= {"tenants": [], "limit": 1000}
    assert pages(plan(connection, WAKE, params)) < 50


def test_a_search_for_expired_rows_reads_no_others(connection: Connection) -> None:
    assert pages(plan(connection, SELECT_EXPIRED, ("default", 500))) < 50


def test_a_search_for_unanswered_assignments_reads_no_other_rows(connection: Connection) -> None:
    params = {"cell": "default", "after_s": 60, "backoff_max_s": 3600, "rows": 500}
    assert pages(plan(connection, REPUBLISH, params)) < 50


@pytest.mark.parametrize("kind", VISIBLE)
def test_a_page_of_held_messages_reads_no_others(connection: Connection, kind: str) -> None:
    of_tenant = "tenant_id = %(tenant)s" if kind == "tenant" else "true"
    params = {**MessageIdRange()._asdict(), **REVIEWER, "account": str(uuid4()), "rows": 500}
    assert (
        pages(plan(connection, SCAN.format(of_tenant=of_tenant, visible=VISIBLE[kind]), params))
        < 50
    )


def test_counting_what_is_held_reads_no_others(connection: Connection) -> None:
    assert pages(plan(connection, COUNT, ([TENANT], REASON_OF_CAMPAIGNS))) < 50


def queue_page(tenant: str, after: str, limit: int) -> dict[str, object]:
    page = {"tenant": tenant, "after": after, "limit": limit}
    return {**page, "sandbox": "sandbox", "test_only": False}


def test_a_page_of_queues_reads_only_its_tenant(connection: Connection) -> None:
    last_tenant = "ffffffff-ffff-7fff-bfff-ffffffffffff"
    assert pages(plan(connection, QUEUE_VIEWS, queue_page(last_tenant, "", 101))) < 10
    assert pages(plan(connection, QUEUE_VIEWS, queue_page(TENANT, f"{TENANT}/s5", 11))) < 100


def test_due_messages_that_wait_for_dns_are_found_by_index(connection: Connection) -> None:
    assert pages(plan(connection, SELECT_DUE, ("default", 10))) < 50
    params = {"cell": "default", "each": 5, "limit": 10}
    assert pages(plan(connection, SELECT_DUE_BY_TENANT, params)) < 500
    assert pages(plan(connection, SELECT_DUE_MESSAGES, ([f"{TENANT}/s1"], 10))) < 150


@pytest.mark.parametrize(
    "wanted",
    [
        SuppressionFilter(),
        SuppressionFilter(address="a@x.example"),
        SuppressionFilter(origin="complaint"),
        SuppressionFilter(domain="y.example"),
        SuppressionFilter(list="news"),
        SuppressionFilter(origin="bounce", domain="x.example", list=""),
    ],
)
def test_a_page_of_suppressions_reads_no_others(
    connection: Connection, ids: list[str], wanted: SuppressionFilter
) -> None:
    params = {"tenant": TENANT, "after": ids[2500], "before": NIL, "hashes": [b""], "limit": 20}
    sql = page_statement(wanted, RowOwner(TENANT, None))
    assert pages(plan(connection, sql, {**params, **wanted._asdict()})) < 60


def test_suppressions_are_found_by_their_keys(connection: Connection, ids: list[str]) -> None:
    hashes = [UUID(one).bytes for one in ids[100:110]]
    params = {"owner": TENANT, "hashes": hashes, "lists": [""] * 10, "origins": ["bounce"] * 10}
    found = plan(connection, FIND, params)
    assert found["Actual Rows"] == 10
    assert pages(found) < 100


def test_suppressions_are_removed_by_their_keys(connection: Connection, ids: list[str]) -> None:
    params = {"owner": TENANT, "hashes": [b"1"], "list": "", "ids": ids[:5], "force": True}
    assert pages(plan(connection, REMOVE, params)) < 100


def test_rows_are_found_by_their_keys(connection: Connection, ids: list[str]) -> None:
    ten, one = ids[100:110], f"{TENANT}/s1"
    ends = (["failed"] * 10, [""] * 10, [""] * 10, [b""] * 10)
    applied = ([0] * 10, [one] * 10, [one] * 10, [0.0] * 10, [""] * 10)
    for sql, params in (
        (CLOSE, (ten, ["queued"] * 10, [0] * 10, *ends)),
        (REQUEUE, (ten, *applied)),
        (SELECT_CLOSED, (ten,)),
        (SELECT_TO_RECONCILE, (ten,)),
        (STATES, (ten, TENANT)),
        (REVIEW.format(visible=VISIBLE["tenant"]), {"ids": ten, **REVIEWER}),
    ):
        assert pages(plan(connection, sql, params)) < 500, sql


def test_transitions_find_rows_by_key_and_open_no_earlier_day(
    connection: Connection, ids: list[str]
) -> None:
    some = ids[100:110]
    ten: dict[str, object] = {"ids": some, "attempts": [0] * 10}
    ten |= {"first_day": first_day_bound(some)}
    assigned: dict[str, object] = {"egresses": ["e"] * 10, "not_afters": [0.0] * 10}
    assigned |= {"assignments": [b""] * 10, "republish_after_s": 60, "cell": "default"}
    applied: dict[str, object] = {
        "states": ["delivered"] * 10,
        "added": [1] * 10,
        "cell": "default",
    }
    applied |= {"dues": [0.0] * 10, "reasons": [""] * 10, "ambiguous": [False] * 10}
    applied |= {"classes": [""] * 10, "replies": [b""] * 10, "stays": [True] * 10}
    for sql, params, pages_max in (
        (LOAD, ten, 150),
        (APPLY, ten | applied, 150),
        (ASSIGN, ten | assigned, 400),
    ):
        found = plan(connection, sql, params)
        assert pages(found) < pages_max
        assert min(days(found)) == f"messages_{day_of(some[0]):%Y%m%d}"


def test_activating_an_active_queue_updates_no_index(connection: Connection) -> None:
    count = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relid = %s::regclass"
    connection.execute("VACUUM router.queues")
    work = {
        "cells": ["default"],
        "queue_ids": [f"{TENANT}/s7"],
        "tenants": [TENANT],
        "sites": ["s7"],
    }
    for _ in range(20):
        connection.execute(ACTIVATE, work | {"dues": [4e9]})
    connection.execute("SELECT pg_stat_force_next_flush()")
    [(updated, hot)] = connection.execute(count, ("router.queues",)).fetchall()
    assert cast(int, hot) >= cast(int, updated) - 5


def test_select_due_skips_what_has_left_a_queue(database: FreshDatabase) -> None:
    """Index entries of rows that have left stay as long as the oldest transaction."""
    queue_id, moved = f"{uuid4()}/s1", 5000
    with psycopg.connect(database.url) as old, database.connect() as connection:
        old.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
        old.execute("SELECT count(*) FROM router.queues")
        ids = [uuid7_text() for _ in range(moved + 10)]
        connection.execute(FILL, (TENANT, queue_id, ids))
        sent = "UPDATE router.messages SET state = 'assigned' WHERE message_id = ANY(%s::uuid[])"
        connection.execute(sent, (ids[:moved],))
        later = "UPDATE router.messages SET due_at = now() WHERE queue_id = %s AND state = 'queued'"
        connection.execute(later, (queue_id,))
        [(first_due_s,)] = connection.execute(
            "SELECT extract(epoch FROM min(due_at))::float8 FROM router.messages"
            " WHERE queue_id = %s AND state = 'queued'",
            (queue_id,),
        ).fetchall()
        for setting, value in PLANS.items():
            connection.execute(f"SET {setting} = {value}".encode())
        from_first = pages(
            plan(
                connection,
                SELECT_DUE_ROWS,
                (b"key", [queue_id], [5], [first_due_s], [TENANT], [None]),
            )
        )
        from_start = pages(
            plan(connection, SELECT_DUE_ROWS, (b"key", [queue_id], [5], [0.0], [TENANT], [None]))
        )
        assert from_first < from_start / 4
