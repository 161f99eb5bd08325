import asyncio
from datetime import date
from typing import Any

import pytest

from kernel.content import SealedContent
from kernel.errors import Unavailable
from services.ingest.store.content_usage import ADD, ContentUsage

TODAY = date(2026, 1, 1)


class Database:
    """Records inserted rows, or is unavailable."""

    def __init__(self) -> None:
        self.unavailable = False
        self.added: list[int] = []
        self.rows: list[int] = []

    async def execute_autocommit(self, sql: str, params: Any) -> list[Any]:  # noqa: ANN401
        if self.unavailable:
            raise Unavailable("postgresql")
        if sql == ADD:
            self.rows.append(len(params[0]))
            self.added += params[2]
        return []


def test_counts_that_could_not_be_saved_are_saved_by_the_next_refresh() -> None:
    database: Any = Database()
    usage = ContentUsage(database, octets_max=100)
    usage.add("t", SealedContent(b"12345", "now", TODAY))

    database.unavailable = True
    with pytest.raises(Unavailable):
        asyncio.run(usage.refresh())
    usage.add("t", SealedContent(b"67", "now", TODAY))
    database.unavailable = False
    asyncio.run(usage.refresh())
    asyncio.run(usage.refresh())

    assert database.added == [7]


def test_the_counts_of_many_tenants_are_saved_in_pages() -> None:
    database: Any = Database()
    usage = ContentUsage(database, octets_max=0)
    for number in range(1_200):
        usage.add(f"{number}", SealedContent(b"1", "now", TODAY))

    asyncio.run(usage.refresh())

    assert database.rows == [500, 500, 200]
