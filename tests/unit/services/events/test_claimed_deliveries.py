"""What becomes of claimed webhook deliveries, by what the log knows of their messages."""

from collections.abc import Sequence
from typing import Any, cast
from uuid import uuid4

import pytest
from google.protobuf.message import Message

from kernel.database import Transaction
from kernel.ids import uuid7_text
from services.events.domain.endpoint import WebhookEndpoint
from services.events.domain.log_event import log_event_of
from services.events.loops.claimed_deliveries import load_attempts
from services.events.store.webhook_deliveries import ClaimedWebhookDelivery
from tests.support.message_events import MessageEvents

MINUTE_S, DAY_S = 60.0, 86_400.0


class LogTransaction:
    """Of a log with these events; records what is done with the deliveries."""

    def __init__(self, *events: Message) -> None:
        self._events = [log_event_of(event) for event in events]
        self.statements: list[tuple[str, Sequence[Any]]] = []

    async def rows(self, _: str, __: object) -> list[tuple[Any, ...]]:
        return [
            (one.event_id, one.subject_id, int(one.kind), 1, 1, one.payload.SerializeToString())
            for one in self._events
        ]

    async def execute(self, statement: str, params: Sequence[Any]) -> int:
        self.statements.append((statement.split(maxsplit=1)[0], params))
        return 1


def delivery_of(event: Message, *, age_s: float, **filters: Any) -> ClaimedWebhookDelivery:  # noqa: ANN401 - of several types
    log_event = log_event_of(event)
    endpoint = WebhookEndpoint(
        str(uuid4()), log_event.tenant_id, "https://x.example/", b"", **filters
    )
    return ClaimedWebhookDelivery(
        log_event.event_id,
        log_event.subject_id,
        uuid7_text(),
        "email.delivered",
        attempt_count=0,
        age_s=age_s,
        is_new=True,
        endpoint=endpoint,
    )


async def load(
    tx: LogTransaction, delivery: ClaimedWebhookDelivery
) -> tuple[int, list[tuple[str, Sequence[Any]]]]:
    """The number of attempts, and the statements."""
    attempts = await load_attempts(cast(Transaction, tx), [delivery], token=str(uuid4()))
    return len(attempts), tx.statements


@pytest.mark.parametrize(("age_s", "delay_s"), [(1.0, 1.0), (2 * MINUTE_S, 60.0)])
async def test_a_filtered_delivery_waits_for_the_accept_of_its_message(
    age_s: float, delay_s: float
) -> None:
    closed = MessageEvents().closed()
    delivery = delivery_of(closed, age_s=age_s, tags=["kind"])

    attempts, [(verb, params)] = await load(LogTransaction(closed), delivery)

    assert attempts == 0
    assert (verb, params[0]) == ("UPDATE", delay_s)  # released


async def test_a_filtered_delivery_is_removed_without_an_accept_in_the_end() -> None:
    closed = MessageEvents().closed()
    delivery = delivery_of(closed, age_s=DAY_S + 1, tags=["kind"])

    attempts, [(verb, _)] = await load(LogTransaction(closed), delivery)

    assert (attempts, verb) == (0, "DELETE")


async def test_a_filtered_delivery_of_any_age_is_decided_by_the_accept() -> None:
    order, news = MessageEvents(tags={"kind": "order"}), MessageEvents()
    for message, attempts in ((order, 1), (news, 0)):
        closed = message.closed()
        delivery = delivery_of(closed, age_s=DAY_S, tags=["kind"])

        found, statements = await load(LogTransaction(closed, message.accepted()), delivery)

        assert found == attempts
        assert [verb for verb, _ in statements] == ["DELETE"] * (1 - attempts)


async def test_a_delivery_without_filters_does_not_wait_long_for_the_accept() -> None:
    closed = MessageEvents().closed()

    assert await load(LogTransaction(closed), delivery_of(closed, age_s=2 * MINUTE_S)) == (1, [])
