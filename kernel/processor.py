"""The loop around every handler: a batch of records in, results out. It knows no broker."""

import logging
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

from google.protobuf.message import DecodeError, Message
from opentelemetry.trace import SpanKind

from contracts.kernel.v1.outbox_pb2 import Outgoing
from kernel import clock, metrics, telemetry
from kernel.database import Database, Transaction
from kernel.errors import DeadLetterLimitExceeded, Overloaded
from kernel.failpoint import failpoint
from kernel.handler_result import DeadLetter, Drop, Emit, HandlerResult
from kernel.health import DependencyHealth
from kernel.outbox import Outbox, OutboxEntry
from kernel.retry import retry_while_unavailable
from kernel.topics import DLQ_SUFFIX, TRACEPARENT, EventContract, contract_of, encode

M = TypeVar("M", bound=Message)
Handler: TypeAlias = Callable[[Sequence[M], Transaction], Awaitable[Sequence[HandlerResult]]]
StatelessHandler: TypeAlias = Callable[[Sequence[M]], Awaitable[Sequence[HandlerResult]]]
Bytes: TypeAlias = Callable[[M], int]

BATCH_BYTES_MAX = 64 * 1024 * 1024  # of referenced bodies in one transaction
OVERLOADS_MAX = 3  # with a responsive database; then the batch is too large

logger = logging.getLogger(__name__)


class Record(NamedTuple):
    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


Batch: TypeAlias = Sequence[tuple[Record, M]]


class DeadLetterGuard:
    """Dead-lettering is for single records: the guard stops the service if many records fail."""

    def __init__(self, *, ratio_max: float = 0.1, window: int = 1000) -> None:
        self._dead_letters_max = ratio_max * window
        self._recent: deque[bool] = deque(maxlen=window)

    def count(self, records: int, *, dead_letters: int) -> None:
        self._recent.extend([True] * dead_letters + [False] * (records - dead_letters))
        if (recently := sum(self._recent)) > self._dead_letters_max:
            raise DeadLetterLimitExceeded(f"{recently} of the last {len(self._recent)} records")


class DeadLetterRecord(NamedTuple):
    record: Outgoing
    alarming: bool = True


class BatchTooLarge(Exception):
    """The database repeatedly aborts this batch while it executes other statements."""


class StreamProcessor(Generic[M]):
    """Runs a handler on events of one or several types: decoding, transaction, retries, outbox and
    dead letters.

    With a database and an outbox, a batch is one transaction. Without them the handler is
    stateless, and its events are acknowledged before the offsets are committed.
    """

    def __init__(  # noqa: PLR0913 - one per part of the loop
        self,
        *events: type[M],
        name: str,
        handler: Handler[M] | StatelessHandler[M],
        health: DependencyHealth,
        send: Callable[[Sequence[Outgoing]], Awaitable[None]],
        database: Database | None = None,
        outbox: Outbox | None = None,
        guard: DeadLetterGuard | None = None,
        referenced_bytes: Bytes[M] = lambda _: 0,
        linger_s: float = 0.0,
    ) -> None:
        self.events = events
        self.name = name
        self.linger_s = linger_s  # maximum time between the starts of batches under load
        self._handler: Callable[..., Awaitable[Sequence[HandlerResult]]] = handler
        self._health = health
        self._send = send
        self._database = database
        self._outbox = outbox
        self._guard = guard or DeadLetterGuard()
        self._referenced_bytes = referenced_bytes
        self._types = {
            name: event for event in events for name in contract_of(event.DESCRIPTOR).names
        }

    async def handle(self, records: Sequence[Record]) -> None:
        """Process a batch. Its offsets may be committed only after this returns."""
        batch, undecodable = self._decode(records)
        dead_letters = list(undecodable)
        for part in self._slices(batch):
            dead_letters += await self._process_bisecting(part)
        self._guard.count(len(records), dead_letters=sum(one.alarming for one in dead_letters))
        if dead_letters:
            await retry_while_unavailable(
                partial(self._send, [one.record for one in dead_letters]), self._health
            )
            metrics.dead_lettered.labels(self.name).inc(len(dead_letters))
        metrics.consumed.labels(self.name).inc(len(records))
        failpoint(f"{self.name}.processed")

    def _decode(self, records: Iterable[Record]) -> tuple[Batch[M], list[DeadLetterRecord]]:
        """The messages, one per event, and dead letters for undecodable records."""
        found: dict[tuple[EventContract, str], tuple[Record, M]] = {}
        undecodable: list[DeadLetterRecord] = []
        for record in records:
            try:
                message = self._types[record.topic].FromString(record.value or b"")
                contract = contract_of(message.DESCRIPTOR)
                key = contract, contract.natural_key_for(message)  # the id is a hash of these two
                found.setdefault(key, (record, message))
            except (DecodeError, ValueError) as error:
                undecodable.append(DeadLetterRecord(dead_letter(record, "undecodable", error)))
        return list(found.values()), undecodable

    def _slices(self, batch: Batch[M]) -> Iterable[Batch[M]]:
        """Split the batch so that the referenced bodies of a slice fit into memory together."""
        start, total = 0, 0
        for index, (_, message) in enumerate(batch):
            size = self._referenced_bytes(message)
            if index > start and total + size > BATCH_BYTES_MAX:
                yield batch[start:index]
                start, total = index, 0
            total += size
        if batch:
            yield batch[start:]

    async def _process_bisecting(
        self, batch: Batch[M], *, again: bool = False
    ) -> list[DeadLetterRecord]:
        """Process a batch; bisect it on a bug until the faulty record is alone. Return the dead
        letters. again: half of a batch that was too large for the database; it gets one attempt,
        and only a single record gets more."""
        if not batch:
            return []
        tries = 1 if again and len(batch) > 1 else OVERLOADS_MAX
        try:
            entry, dead_letters = await self._decide_with_retry(batch, tries=tries)
        except Exception as error:
            if len(batch) == 1:
                logger.exception("record.dead_lettered", extra={"consumer": self.name})
                return [DeadLetterRecord(dead_letter(batch[0][0], "handler failed", error))]
            again = isinstance(error, BatchTooLarge)
            middle = len(batch) // 2
            halves = batch[:middle], batch[middle:]
            return [
                one for half in halves for one in await self._process_bisecting(half, again=again)
            ]
        await self._publish(entry)
        return dead_letters

    async def _decide_with_retry(
        self, batch: Batch[M], *, tries: int
    ) -> tuple[OutboxEntry, list[DeadLetterRecord]]:
        """Retry while infrastructure is unavailable. Raises errors that the batch causes."""
        overloads = 0

        async def attempt() -> tuple[OutboxEntry, list[DeadLetterRecord]]:
            nonlocal overloads
            try:
                return await self._decide(batch)
            except Overloaded as error:
                overloads += 1
                if overloads >= tries and self._database and await self._database.is_responsive():
                    raise BatchTooLarge(repr(error.__cause__)) from error
                raise

        return await retry_while_unavailable(attempt, self._health)

    async def _decide(self, batch: Batch[M]) -> tuple[OutboxEntry, list[DeadLetterRecord]]:
        """Run the handler in one transaction: rows and their events commit together or not at
        all."""
        messages = [message for _, message in batch]
        began_ns = time.time_ns()
        if self._database is None or self._outbox is None:
            results = await self._handler(messages)
            events, dead_letters = self._outgoing(batch, results, began_ns)
            return OutboxEntry(events), dead_letters
        async with self._database.transaction() as tx:
            results = await self._handler(messages, tx)
            events, dead_letters = self._outgoing(batch, results, began_ns)
            entry = await self._outbox.add(tx, events)
            failpoint(f"{self.name}.in_transaction")
        failpoint(f"{self.name}.committed")
        return entry, dead_letters

    def _outgoing(
        self, batch: Batch[M], results: Sequence[HandlerResult], began_ns: int
    ) -> tuple[list[Outgoing], list[DeadLetterRecord]]:
        events: list[Outgoing] = []
        dead_letters: list[DeadLetterRecord] = []
        dropped: Counter[str] = Counter()
        now = clock.now()
        for (record, _), result in zip(batch, results, strict=True):
            trace = traceparent_of(record)
            if telemetry.is_recorded(trace):
                trace = self._record_span(record, trace, began_ns=began_ns, batch=len(batch))
            if isinstance(result, Emit):
                events += [encode(event, now, trace) for event in result.events]
            elif isinstance(result, DeadLetter):
                dead_letters.append(
                    DeadLetterRecord(dead_letter(record, result.reason), result.alarming)
                )
            elif isinstance(result, Drop):
                dropped[result.reason] += 1
        for reason, count in dropped.items():
            metrics.skipped.labels(self.name, reason).inc(count)
        return events, dead_letters

    def _record_span(
        self, record: Record, trace: bytes | None, *, began_ns: int, batch: int
    ) -> bytes | None:
        """One span per record, with the names of OpenTelemetry's conventions for messaging."""
        attributes: dict[str, str | int] = {
            "messaging.system": "kafka",
            "messaging.operation.type": "process",
            "messaging.destination.name": record.topic,
            "messaging.destination.partition.id": str(record.partition),
            "messaging.kafka.offset": record.offset,
            "messaging.consumer.group.name": self.name,
            "messaging.batch.message_count": batch,
        }
        return telemetry.record_span(
            f"process {record.topic}",
            trace,
            began_ns=began_ns,
            kind=SpanKind.CONSUMER,
            attributes=attributes,
        )

    async def _publish(self, entry: OutboxEntry) -> None:
        if self._outbox is not None:
            await self._outbox.publish(entry, self._health)
        elif entry.records:
            await retry_while_unavailable(partial(self._send, entry.records), self._health)


def traceparent_of(record: Record) -> bytes | None:
    for name, value in record.headers:
        if name == TRACEPARENT:
            return value
    return None


def dead_letter(record: Record, reason: str, error: BaseException | None = None) -> Outgoing:
    """The record unchanged, with the reason and its origin in headers.

    It needs no outbox: its offset is not committed yet, so after a crash it is dead-lettered again.
    """
    why = {
        "dlq_reason": reason,
        "dlq_error": repr(error)[:500] if error else "",
        "dlq_topic": record.topic,
        "dlq_partition": str(record.partition),
        "dlq_offset": str(record.offset),
    }
    headers: dict[str, Any] = {name: value or b"" for name, value in record.headers}
    return Outgoing(
        topic=record.topic + DLQ_SUFFIX,
        key=record.key,
        value=record.value,
        headers={**headers, **{name: text.encode() for name, text in why.items()}},
    )
