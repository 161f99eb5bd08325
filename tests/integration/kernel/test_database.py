"""Arrays are passed unchanged, and aborted statements are classified."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence

import psycopg
import pytest

from kernel.database import Database
from kernel.errors import Overloaded, Unavailable
from kernel.group_commit import GroupCommit
from kernel.health import DependencyHealth
from kernel.retry import retry_while_unavailable
from tests.support.stack import opened

ARRAYS = [
    ("text", ["a", "", "ü", "a,b", "{}", "null", " x "]),
    ("text", ['say "no"', "back\\slash"]),
    ("text", ["a", None]),
    ("text", []),
    ("int", [1, -2, 2**31 - 1]),
    ("bigint", [2**40]),
    ("int", [1, None]),
    ("float8", [1.5, float("inf"), 1e-300]),
    ("bool", [True, False]),
    ("bytea", [b"", b"\x00\xff", b"\\x41"]),
    ("bytea", [b"a", None]),
    ("bytea", []),
    ("uuid", ["0190a2b4-0000-7000-8000-000000000001"]),
]


@pytest.mark.parametrize(("kind", "values"), ARRAYS)
async def test_an_array_arrives_as_it_was(
    database_url: str, kind: str, values: list[object]
) -> None:
    database = Database(database_url)
    try:
        query = f"SELECT %s::{kind}[], cardinality(%s::{kind}[])"
        for _ in range(7):  # prepared from the sixth on
            [(back, count)] = await database.execute_autocommit(query, (values, values))
            assert [str(one) if kind == "uuid" else one for one in back] == values
            assert count == len(values)
    finally:
        await database.close()


SLOW = "SELECT pg_sleep(30)"


def with_database(url: str, scenario: Callable[[Database], Awaitable[None]]) -> None:
    async def run() -> None:
        database = Database(url, statement_s=0.3)
        try:
            await scenario(database)
        finally:
            await database.close()

    asyncio.run(run())


def test_a_statement_timeout_is_an_overload(
    database_url: str,
) -> None:
    async def scenario(database: Database) -> None:
        with pytest.raises(Overloaded):
            async with database.transaction() as tx:
                await tx.rows(SLOW)
        with pytest.raises(Overloaded):
            await database.execute_autocommit(SLOW)
        assert await database.is_responsive()

    with_database(database_url, scenario)


def test_a_statement_that_an_administrator_cancels_is_retried(database_url: str) -> None:
    async def scenario(database: Database) -> None:
        with pytest.raises(Unavailable) as raised:
            async with database.transaction() as tx:
                await tx.rows("SELECT pg_cancel_backend(pg_backend_pid())")
        assert type(raised.value) is Unavailable

    with_database(database_url, scenario)


def test_a_lock_timeout_is_retried(database_url: str) -> None:
    async def scenario(database: Database) -> None:
        with psycopg.connect(database_url) as other:
            other.execute("SELECT pg_advisory_xact_lock(4711)")
            with pytest.raises(Unavailable):
                await database.execute_autocommit("SELECT pg_advisory_xact_lock(4711)")

    with_database(database_url, scenario)


def test_a_group_commit_retries_until_the_statement_succeeds(database_url: str) -> None:
    async def scenario(database: Database) -> None:
        tries = iter([30.0, 30.0, 0.0])

        async def commit(items: Sequence[int]) -> Sequence[int]:
            await database.execute_autocommit("SELECT pg_sleep(%s)", (next(tries),))
            return items

        group = GroupCommit(commit)
        assert await retry_while_unavailable(lambda: group.submit(7), DependencyHealth()) == 7

    with_database(database_url, scenario)


def test_a_failed_test_closes_its_pool(database_url: str) -> None:
    async def scenario() -> None:
        async with opened(database_url) as database:
            await database.execute_autocommit("SELECT 1")
            raise EOFError

    with pytest.raises(EOFError):
        asyncio.run(scenario())
