import asyncio
from collections.abc import AsyncIterator, Iterable, Sequence
from contextlib import asynccontextmanager
from itertools import repeat
from typing import cast

import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind

from contracts.ingest.v1.events_pb2 import PRIORITY_EXPRESS as EXPRESS
from contracts.kernel.v1.outbox_pb2 import Outgoing
from contracts.router.v1.events_pb2 import MessageClosed
from contracts.shield.v1.events_pb2 import MessageScreened
from kernel import retry
from kernel.database import Database, Transaction
from kernel.errors import DeadLetterLimitExceeded, Overloaded, Unavailable
from kernel.handler_result import DeadLetter, Drop, Emit, HandlerResult
from kernel.health import DependencyHealth
from kernel.outbox import Outbox, OutboxEntry
from kernel.processor import (
    BATCH_BYTES_MAX,
    OVERLOADS_MAX,
    DeadLetterGuard,
    Handler,
    Record,
    StreamProcessor,
)
from tests.support.spans import spans

__all__ = ["spans"]

TOPIC = "shield.message-screened.v1.express"


class FakeDatabase(Database):
    def __init__(self) -> None:
        pass

    @asynccontextmanager
    async def transaction(
        self, *, tenant_id: str | None = None, account_id: str | None = None
    ) -> AsyncIterator[Transaction]:
        yield cast(Transaction, None)

    async def is_responsive(self) -> bool:
        return True


class FakeOutbox(Outbox):
    def __init__(self) -> None:
        self.published: list[Outgoing] = []

    async def add(self, tx: Transaction, records: Iterable[Outgoing]) -> OutboxEntry:
        return OutboxEntry(list(records))

    async def publish(self, entry: OutboxEntry, health: DependencyHealth) -> None:
        self.published += entry.records

    async def send(self, records: Sequence[Outgoing]) -> None:
        self.published += records

    def on(self, topic: str) -> list[Outgoing]:
        return [record for record in self.published if record.topic == topic]


class Closer:
    """Closes every message, but fails on `culprit`, as with a bug."""

    def __init__(self, culprit: str = "") -> None:
        self.culprit = culprit
        self.batches: list[list[str]] = []

    async def on_screened(
        self, batch: Sequence[MessageScreened], tx: Transaction
    ) -> Sequence[HandlerResult]:
        self.batches.append([event.message_id for event in batch])
        if self.culprit in self.batches[-1]:
            raise KeyError(self.culprit)
        return [Emit(MessageClosed(message_id=event.message_id)) for event in batch]


def record(offset: int, *, message_id: str | None = None, content_bytes: int = 0) -> Record:
    event = MessageScreened(message_id=message_id or f"m{offset}", priority=EXPRESS)
    event.context.content_bytes = content_bytes
    return Record(TOPIC, 0, offset, b"key", event.SerializeToString(), [("ce_id", b"1")])


def handle(
    records: Sequence[Record],
    handler: Handler[MessageScreened],
    *,
    health: DependencyHealth | None = None,
    guard: DeadLetterGuard | None = None,
) -> FakeOutbox:
    outbox = FakeOutbox()
    stream = StreamProcessor(
        MessageScreened,
        name="test",
        handler=handler,
        health=health or DependencyHealth(),
        send=outbox.send,
        database=FakeDatabase(),
        outbox=outbox,
        guard=guard or DeadLetterGuard(),
        referenced_bytes=lambda message: message.context.content_bytes,
    )
    asyncio.run(stream.handle(records))
    return outbox


def test_a_bug_dead_letters_only_its_record() -> None:
    closer = Closer(culprit="m5")

    outbox = handle([record(n) for n in range(8)], closer.on_screened)

    assert len(outbox.on("router.message-closed.v1")) == 7
    [dead_letter] = outbox.on(TOPIC + ".dlq")
    assert (dead_letter.key, dead_letter.value) == (b"key", record(5).value)
    assert dict(dead_letter.headers) == {
        "ce_id": b"1",
        "dlq_reason": b"handler failed",
        "dlq_error": b"KeyError('m5')",
        "dlq_topic": TOPIC.encode(),
        "dlq_partition": b"0",
        "dlq_offset": b"5",
    }
    assert [len(batch) for batch in closer.batches] == [8, 4, 4, 2, 1, 1, 2]


def test_a_repeat_inside_the_batch_is_handled_once() -> None:
    closer = Closer()

    handle([record(0, message_id="a"), record(1, message_id="a"), record(2)], closer.on_screened)

    assert closer.batches == [["a", "m2"]]


@pytest.mark.parametrize("value", [b"\xff", b"", None, b"\x7a\x01x"])
def test_an_undecodable_record_is_dead_lettered(value: bytes | None) -> None:
    closer = Closer()

    outbox = handle([Record(TOPIC, 0, 0, None, value), record(1)], closer.on_screened)

    [dead_letter] = outbox.on(TOPIC + ".dlq")
    assert dead_letter.headers["dlq_reason"] == b"undecodable"
    assert closer.batches == [["m1"]]


def test_dead_letters_without_alarm_do_not_stop_the_service() -> None:
    async def on_screened(
        batch: Sequence[MessageScreened], tx: Transaction
    ) -> Sequence[HandlerResult]:
        return [DeadLetter("no", alarming=False) for _ in batch]

    guard = DeadLetterGuard(ratio_max=0.2, window=10)

    outbox = handle([record(n) for n in range(10)], on_screened, guard=guard)

    assert len(outbox.on(TOPIC + ".dlq")) == 10


def test_many_dead_letters_stop_the_service() -> None:
    async def on_screened(
        batch: Sequence[MessageScreened], tx: Transaction
    ) -> Sequence[HandlerResult]:
        return [DeadLetter("no") for _ in batch]

    guard = DeadLetterGuard(ratio_max=0.2, window=10)

    assert len(handle([record(0), record(1)], on_screened, guard=guard).published) == 2
    with pytest.raises(DeadLetterLimitExceeded, match="3 of the last 3 records"):
        handle([record(2)], on_screened, guard=guard)


def test_while_the_database_is_unavailable_nothing_is_dead_lettered_and_the_service_is_not_ready(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retry, "backoff_delays_s", lambda: repeat(0.0))
    health = DependencyHealth()
    seen: list[bool] = []

    async def on_screened(
        batch: Sequence[MessageScreened], tx: Transaction
    ) -> Sequence[HandlerResult]:
        seen.append(health.ready)
        if len(seen) < 100:
            raise Unavailable("postgresql")
        return [Drop("done") for _ in batch]

    outbox = handle([record(0)], on_screened, health=health)

    assert seen == [True] + [False] * 99
    assert health.ready
    assert not outbox.published


def test_bodies_that_do_not_fit_into_memory_together_are_handled_separately() -> None:
    closer = Closer()
    large = BATCH_BYTES_MAX // 2 + 1

    handle([record(n, content_bytes=large) for n in range(3)], closer.on_screened)

    assert closer.batches == [["m0"], ["m1"], ["m2"]]


def test_an_event_inherits_the_trace_of_its_record() -> None:
    traced = record(0)._replace(headers=[("traceparent", b"00-a-b-01")])

    outbox = handle([traced], Closer().on_screened)

    [closed] = outbox.on("router.message-closed.v1")
    assert closed.headers["traceparent"] == b"00-a-b-01"


def test_a_record_of_a_sampled_trace_is_a_span_between_its_event_and_the_next(
    spans: InMemorySpanExporter,
) -> None:
    trace, parent = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
    headers = [[("traceparent", f"00-{trace}-{parent}-{flags}".encode())] for flags in ("01", "00")]

    outbox = handle(
        [record(n)._replace(headers=one) for n, one in enumerate(headers)], Closer().on_screened
    )

    [span] = spans.get_finished_spans()
    assert (span.name, span.kind) == (f"process {TOPIC}", SpanKind.CONSUMER)
    assert span.parent is not None
    assert f"{span.parent.span_id:016x}" == parent
    assert span.attributes == {
        "messaging.system": "kafka",
        "messaging.operation.type": "process",
        "messaging.destination.name": TOPIC,
        "messaging.destination.partition.id": "0",
        "messaging.kafka.offset": 0,
        "messaging.consumer.group.name": "test",
        "messaging.batch.message_count": 2,
    }
    sampled, unsampled = outbox.on("router.message-closed.v1")
    assert sampled.headers["traceparent"] == f"00-{trace}-{span.context.span_id:016x}-01".encode()
    assert unsampled.headers["traceparent"] == f"00-{trace}-{parent}-00".encode()


def test_a_stateless_handlers_events_are_acknowledged_before_the_batch_is_processed() -> None:
    sent: list[Outgoing] = []

    async def on_screened(batch: Sequence[MessageScreened]) -> Sequence[HandlerResult]:
        return [Emit(MessageClosed(message_id=event.message_id)) for event in batch]

    async def send(records: Sequence[Outgoing]) -> None:
        sent.extend(records)

    stream = StreamProcessor(
        MessageScreened, name="test", handler=on_screened, health=DependencyHealth(), send=send
    )
    asyncio.run(stream.handle([record(0), record(1)]))

    assert [outgoing.topic for outgoing in sent] == ["router.message-closed.v1"] * 2


class Overloading:
    """Overloads the database with `culprit`, and the first `times` with every batch."""

    def __init__(self, culprit: str = "", *, times: int = 0) -> None:
        self.culprit = culprit
        self.times = times
        self.batches: list[int] = []

    async def on_screened(
        self, batch: Sequence[MessageScreened], tx: Transaction
    ) -> Sequence[HandlerResult]:
        self.batches.append(len(batch))
        if len(self.batches) <= self.times or self.culprit in {m.message_id for m in batch}:
            raise Overloaded("postgresql")
        return [Drop("done") for _ in batch]


def test_a_statement_timeout_that_passes_neither_halves_nor_dead_letters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retry, "backoff_delays_s", lambda: repeat(0.0))
    slow = Overloading(times=OVERLOADS_MAX - 1)

    outbox = handle([record(n) for n in range(8)], slow.on_screened)

    assert slow.batches == [8] * OVERLOADS_MAX
    assert not outbox.published


def test_a_record_that_overloads_the_database_is_dead_lettered_alone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retry, "backoff_delays_s", lambda: repeat(0.0))
    slow = Overloading("m5")

    outbox = handle([record(n) for n in range(8)], slow.on_screened)

    [dead_letter] = outbox.on(TOPIC + ".dlq")
    assert dead_letter.value == record(5).value
    assert slow.batches == [8] * OVERLOADS_MAX + [4, 4, 2, 1] + [1] * OVERLOADS_MAX + [2]


def test_a_timeout_of_an_unresponsive_database_dead_letters_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(retry, "backoff_delays_s", lambda: repeat(0.0))

    async def is_unresponsive(_: FakeDatabase) -> bool:
        return False

    monkeypatch.setattr(FakeDatabase, "is_responsive", is_unresponsive)
    slow = Overloading(times=50)

    outbox = handle([record(n) for n in range(8)], slow.on_screened)

    assert slow.batches == [8] * 51
    assert not outbox.published
