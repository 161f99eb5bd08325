"""Which messages a search reads, without a database."""

import asyncio
from collections.abc import Mapping
from typing import Any, cast

import pytest

from contracts.events.v1 import events_service_pb2 as pb
from kernel.database import RowOwner, Transaction
from kernel.rpc import RequestError
from services.events.api.emails import event_filter_of
from services.events.domain.event_filter import EventFilter
from services.events.store.search import search_events

TENANT = "01a22972-52ae-7000-a32f-f6dddc0014c6"
CHOSEN = "01a22972-52ae-7001-a32f-f6dddc0014c6"
OWN = "01a22972-52ae-7002-a937-6267b7887f5f"


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


def test_a_refusal_does_not_repeat_a_long_type() -> None:
    """gRPC does not send it in more than 8 KB."""
    request = pb.StreamEventsRequest(filter=pb.EventFilter(types=["x" * 10_000]))
    with pytest.raises(RequestError) as refused:
        event_filter_of(request)
    assert len(str(refused.value)) < 1_000
