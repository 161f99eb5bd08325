"""Arrays travel as they are, whichever way they are written."""

import asyncio

import pytest

from kernel.database import Database

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
def test_an_array_arrives_as_it_was(database_url: str, kind: str, values: list[object]) -> None:
    async def story() -> None:
        database = Database(database_url)
        try:
            query = f"SELECT %s::{kind}[], cardinality(%s::{kind}[])"
            for _ in range(7):  # prepared from the sixth on
                [(back, count)] = await database.once(query, (values, values))
                assert [str(one) if kind == "uuid" else one for one in back] == values
                assert count == len(values)
        finally:
            await database.close()

    asyncio.run(story())
