"""What the hot statements of router read: ranges of indexes, however much waits, and the day of
their messages alone."""

from collections.abc import Iterator
from typing import Any, cast
from uuid import uuid4

import psycopg
import pytest

from kernel.database import PLANS
from kernel.ids import MAX, NIL, uuid7_text
from services.router.store.answers import LOAD, MOVE, span
from services.router.store.claims import ASSIGN, CLAIM, RELANE
from services.router.store.closings import ASK, CLOSE, EXPIRED, FINAL
from services.router.store.lanes import GIVE_WORK
from services.router.store.lanes import OPEN_BY_TENANT as LANES_BY_TENANT
from services.router.store.look import LOOK
from services.router.store.requests import AUDIT, RELEASE, STATES
from services.router.store.requests import LANES as LANES_OF
from services.router.store.resolving import DUE, OPEN, OPEN_BY_TENANT
from services.router.store.suppressions import BY_ADDRESS, OLDER, REMOVE
from tests.support.pair import FreshDatabase

WAITING = 20_000
LANES = 2_000
TENANT = str(uuid4())
FILL = """
INSERT INTO router.messages (message_id, tenant_id, email_id, cell, lane, state, due_at, expires_at,
    address_hash, envelope)
SELECT id, %s, id, 'default', %s, 'waiting', now() - interval '1 min', now() + interval '3 days',
    '', '' FROM unnest(%s::uuid[]) AS id
"""
FILL_LANES = """
INSERT INTO router.lanes (lane, tenant_id, cell, site, next_at)
SELECT %s || '/s' || n, %s, 'default', 's' || n, CASE WHEN n = 7 THEN now() END
FROM generate_series(1, %s) AS n
"""

FILL_LATER = """
INSERT INTO router.lanes (lane, tenant_id, cell, site, next_at)
SELECT id || '/s1', id, 'default', 's1', now() + interval '1 hour'
FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, 5000)) AS tenants
"""

FILL_RESOLVING = """
INSERT INTO router.lanes (lane, tenant_id, cell, site, next_at)
SELECT id || '/resolving/d' || n, id, 'default', 'resolving',
    now() + CASE WHEN n = 1 THEN '-1 s' ELSE '1 min' END::interval
FROM (SELECT gen_random_uuid() AS id FROM generate_series(1, 100)) AS t, generate_series(1, 20) AS n
"""
FILL_SUPPRESSIONS = """
INSERT INTO router.suppressions (tenant_id, address_hash, id, address, origin, source_id)
SELECT %s, uuid_send(id), id, '', '', '' FROM unnest(%s::uuid[]) AS id
"""

Connection = psycopg.Connection[tuple[object, ...]]
Plan = dict[str, Any]


@pytest.fixture(scope="module")
def ids() -> list[str]:
    return [uuid7_text() for _ in range(WAITING)]


@pytest.fixture(scope="module")
def connection(database: FreshDatabase, ids: list[str]) -> Iterator[Connection]:
    """Twenty thousand messages in one lane, and two thousand lanes, one of them open."""
    with database.connect() as one:
        one.execute(FILL, (TENANT, f"{TENANT}/s1", ids))
        one.execute(FILL_LANES, (TENANT, TENANT, LANES))
        one.execute(FILL_LATER)
        one.execute(FILL_RESOLVING)
        one.execute(FILL_SUPPRESSIONS, (TENANT, ids[:5000]))
        for setting, value in PLANS.items():
            one.execute(f"SET {setting} = {value}".encode())
        yield one


def plan(connection: Connection, sql: str, params: object) -> Plan:
    """As it ran; and nothing has changed."""
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
    """The partitions of messages that it opens."""
    names = {str(node.get("Relation Name", "")) for node in nodes(tree)}
    return {name for name in names if name.startswith("messages_")}


def test_a_claim_reads_as_many_rows_as_it_takes(connection: Connection) -> None:
    assert pages(plan(connection, CLAIM, ([f"{TENANT}/s1"], [10]))) < 150


def test_a_look_reads_open_lanes_alone(connection: Connection) -> None:
    assert pages(plan(connection, LOOK, {"cell": "default", "most": 1000})) < 50


def test_a_look_at_every_tenant_is_none_at_those_whose_mail_is_for_later(
    connection: Connection,
) -> None:
    params = {"cell": "default", "each": 10, "most": 1000}
    assert pages(plan(connection, LANES_BY_TENANT, params)) < 500


def test_nothing_out_of_time_is_found_without_reading_what_waits(connection: Connection) -> None:
    assert pages(plan(connection, EXPIRED, ("default", 500))) < 50


def test_nothing_unanswered_is_found_without_reading_what_waits(connection: Connection) -> None:
    params = {"cell": "default", "after_s": 60, "most_s": 3600, "rows": 500}
    assert pages(plan(connection, ASK, params)) < 50


def test_a_page_of_lanes_reads_its_tenants_alone(connection: Connection) -> None:
    behind = "ffffffff-ffff-7fff-bfff-ffffffffffff"
    assert pages(plan(connection, LANES_OF, (behind, "", "sandbox", False, 101))) < 10
    assert pages(plan(connection, LANES_OF, (TENANT, f"{TENANT}/s5", "sandbox", False, 11))) < 100


def test_what_waits_for_dns_is_found_by_what_is_due(connection: Connection) -> None:
    assert pages(plan(connection, OPEN, ("default", 10))) < 50
    params = {"cell": "default", "each": 5, "most": 10}
    assert pages(plan(connection, OPEN_BY_TENANT, params)) < 500
    assert pages(plan(connection, DUE, ([f"{TENANT}/s1"], 10))) < 150


def test_suppressions_are_found_by_address_and_by_page(
    connection: Connection, ids: list[str]
) -> None:
    params = {"tenant": TENANT, "after": MAX, "before": NIL, "hash": b"", "limit": 20}
    assert pages(plan(connection, BY_ADDRESS, params)) < 20
    assert pages(plan(connection, OLDER, params | {"after": ids[2500]})) < 60
    assert pages(plan(connection, REMOVE, (TENANT, [b"1"], ids[:5]))) < 100


def test_rows_are_found_by_their_keys(connection: Connection, ids: list[str]) -> None:
    ten, one = ids[100:110], f"{TENANT}/s1"
    ends = (["failed"] * 10, [""] * 10, [""] * 10, [b""] * 10)
    moved = ([0] * 10, [one] * 10, [one] * 10, [0.0] * 10, [""] * 10)
    for sql, params in (
        (CLOSE, (ten, ["waiting"] * 10, [0] * 10, *ends)),
        (RELANE, (ten, *moved)),
        (FINAL, (ten,)),
        (AUDIT, (ten,)),
        (STATES, (ten, TENANT)),
        (RELEASE, (ten, TENANT)),
    ):
        assert pages(plan(connection, sql, params)) < 500, sql


def test_rows_move_by_their_keys_in_their_own_day(connection: Connection, ids: list[str]) -> None:
    some = ids[100:110]
    ten: dict[str, object] = {"ids": some, "attempts": [0] * 10, **span(some)}
    assigned: dict[str, object] = {"egresses": ["e"] * 10, "not_afters": [0.0] * 10}
    assigned |= {"assignments": [b""] * 10, "ask_after_s": 60}
    moved: dict[str, object] = {"states": ["delivered"] * 10, "tried": [1] * 10, "cell": "default"}
    moved |= {"dues": [0.0] * 10, "reasons": [""] * 10, "ambiguous": [False] * 10}
    moved |= {"classes": [""] * 10, "replies": [b""] * 10, "connected": [True] * 10}
    for sql, params, most in (
        (LOAD, ten, 150),
        (MOVE, ten | moved, 150),
        (ASSIGN, ten | assigned, 400),
    ):
        found = plan(connection, sql, params)
        assert pages(found) < most
        assert len(days(found)) == 1


def test_work_for_an_open_lane_touches_no_index(connection: Connection) -> None:
    count = "SELECT n_tup_upd, n_tup_hot_upd FROM pg_stat_user_tables WHERE relid = %s::regclass"
    connection.execute("VACUUM router.lanes")
    work = {"cell": "default", "lanes": [f"{TENANT}/s7"], "tenants": [TENANT], "sites": ["s7"]}
    for _ in range(20):
        connection.execute(GIVE_WORK, work | {"dues": [4e9]})
    connection.execute("SELECT pg_stat_force_next_flush()")
    [(updated, hot)] = connection.execute(count, ("router.lanes",)).fetchall()
    assert cast(int, hot) >= cast(int, updated) - 5
