import asyncio
from datetime import date
from typing import Any

import pytest

from kernel.content import Body
from kernel.errors import Unavailable
from services.ingest.store.stored import ADD, Stored

TODAY = date(2026, 1, 1)


class Database:
    """Takes what is added, or is away."""

    def __init__(self) -> None:
        self.away = False
        self.added: list[int] = []
        self.rows: list[int] = []

    async def once(self, sql: str, params: Any) -> list[Any]:  # noqa: ANN401
        if self.away:
            raise Unavailable("postgresql")
        if sql == ADD:
            self.rows.append(len(params[0]))
            self.added += params[2]
        return []


def test_what_could_not_be_saved_is_saved_by_a_later_look() -> None:
    database: Any = Database()
    stored = Stored(database, octets_max=100)
    stored.add("t", Body(b"12345", "now", TODAY))

    database.away = True
    with pytest.raises(Unavailable):
        asyncio.run(stored.look())
    stored.add("t", Body(b"67", "now", TODAY))
    database.away = False
    asyncio.run(stored.look())
    asyncio.run(stored.look())

    assert database.added == [7]


def test_the_counts_of_many_tenants_are_saved_in_pages() -> None:
    database: Any = Database()
    stored = Stored(database, octets_max=0)
    for number in range(1_200):
        stored.add(f"{number}", Body(b"1", "now", TODAY))

    asyncio.run(stored.look())

    assert database.rows == [500, 500, 200]
