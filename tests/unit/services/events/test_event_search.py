"""Which messages a search reads, without a database."""

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import pytest

from kernel.database import RowOwner, Transaction
from kernel.ids import uuid7_text
from services.events.domain.event_filter import EventFilter
from services.events.store.search import search_events

TENANT, CHOSEN, OWN = uuid7_text(), uuid7_text(), uuid7_text()


class Tags:
    """One message, by the Message-ID that its sender chose. read: the messages whose events are
    read."""

    read: object = None

    async def rows(self, sql: str, given: Mapping[str, Any]) -> list[tuple[str, ...]]:
        if "events.tags AS t\nJOIN" in sql:
            return [(OWN,)] if given["header_tag"] == f"<{CHOSEN}@shop.example>" else []
        self.read = given["subjects"]
        return []


@pytest.mark.parametrize(
    ("message_id", "expected"),
    [
        (CHOSEN, {CHOSEN}),
        (f"<{OWN}@mail.example>", {OWN}),
        (f"<{CHOSEN}@shop.example>", {CHOSEN, OWN}),
    ],
)
def test_a_message_id_that_the_sender_made_of_a_uuid_is_found(
    message_id: str, expected: set[str]
) -> None:
    tx = Tags()
    wanted = EventFilter(message_id=message_id)
    asyncio.run(search_events(cast(Transaction, tx), RowOwner(TENANT, None), wanted, limit=20))
    assert set(cast(list[str], tx.read)) == expected
