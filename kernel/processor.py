"""Batch in, outcomes out: the loop around every handler, whatever the broker."""

import logging
import time
from collections import Counter, deque
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Any, Generic, NamedTuple, TypeAlias, TypeVar

from google.protobuf.message import DecodeError, Message

from contracts.kernel.v1.outbox_pb2 import Outgoing
from kernel import clock, metrics, telemetry
from kernel.database import Database, Transaction
from kernel.errors import DeadLetterLimitExceeded, Overloaded
from kernel.failpoint import failpoint
from kernel.handler_result import DeadLetter, Drop, Emit, HandlerResult
from kernel.health import DependencyHealth
from kernel.outbox import Outbox, OutboxEntry
from kernel.retry import retry_while_unavailable
from kernel.topics import DLQ_SUFFIX, TRACEPARENT, contract_of, encode

M = TypeVar("M", bound=Message)
Handler: TypeAlias = Callable[[Sequence[M], Transaction], Awaitable[Sequence[HandlerResult]]]
StatelessHandler: TypeAlias = Callable[[Sequence[M]], Awaitable[Sequence[HandlerResult]]]
Bytes: TypeAlias = Callable[[M], int]

BATCH_BYTES_MAX = 64 * 1024 * 1024  # of referenced bodies, in one transaction
OVERLOADS_MAX = 3  # while others are answered: then it is the batch that asks too much

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
    """Dead-lettering is for single records. If many fail, stop before all of them have."""

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
    """The database gives up on this batch alone, time and again."""


class StreamProcessor(Generic[M]):
    """One kind of event or several, their handler, and everything that may go wrong around it.

    With a database and an outbox, a batch is one transaction; without, the handler has no rows
    and what it emits is acknowledged before the offsets move.
    """

    def __init__(  # noqa: PLR0913 - each a part of the loop
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
        self.linger_s = linger_s  # under load, from the start of a batch to that of the next
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
        """Process a batch. When this returns, and only then, its offsets may be committed."""
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
        failpoint(f"{self.name}.settled")

    def _decode(self, records: Iterable[Record]) -> tuple[Batch[M], list[DeadLetterRecord]]:
        """Messages, one per event id, and what cannot be one."""
        found: dict[str, tuple[Record, M]] = {}
        undecodable: list[DeadLetterRecord] = []
        for record in records:
            try:
                message = self._types[record.topic].FromString(record.value or b"")
                found.setdefault(contract_of(message.DESCRIPTOR).id_for(message), (record, message))
            except (DecodeError, ValueError) as error:
                undecodable.append(DeadLetterRecord(dead_letter(record, "undecodable", error)))
        return list(found.values()), undecodable

    def _slices(self, batch: Batch[M]) -> Iterable[Batch[M]]:
        """Slices whose referenced bodies fit into memory together."""
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
        """Halve on a bug until its record is alone; return its dead letters. again: a half of
        what asked too much of the database; only a record alone is then given more than one try."""
        if not batch:
            return []
        tries = 1 if again and len(batch) > 1 else OVERLOADS_MAX
        try:
            entry, dead_letters = await self._decide_with_retry(batch, tries=tries)
        except Exception as error:
            if len(batch) == 1:
                logger.exception(
                    "a record is moved to its dead-letter topic", extra={"stream": self.name}
                )
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
        """However long infrastructure is away. Raises what is the batch's own."""
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
        """One transaction: rows, and the events about them, commit together or not at all."""
        messages = [message for _, message in batch]
        began_ns = time.time_ns()
        if self._database is None or self._outbox is None:
            outcomes = await self._handler(messages)
            events, dead_letters = self._outgoing(batch, outcomes, began_ns)
            return OutboxEntry(events), dead_letters
        async with self._database.transaction() as tx:
            outcomes = await self._handler(messages, tx)
            events, dead_letters = self._outgoing(batch, outcomes, began_ns)
            entry = await self._outbox.add(tx, events)
            failpoint(f"{self.name}.in_transaction")
        failpoint(f"{self.name}.committed")
        return entry, dead_letters

    def _outgoing(
        self, batch: Batch[M], outcomes: Sequence[HandlerResult], began_ns: int
    ) -> tuple[list[Outgoing], list[DeadLetterRecord]]:
        events: list[Outgoing] = []
        dead_letters: list[DeadLetterRecord] = []
        dropped: Counter[str] = Counter()
        now = clock.now()
        for (record, _), outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Emit):
                trace = telemetry.record_span(self.name, traceparent_of(record), began_ns=began_ns)
                events += [encode(event, now, trace) for event in outcome.events]
            elif isinstance(outcome, DeadLetter):
                dead_letters.append(
                    DeadLetterRecord(dead_letter(record, outcome.reason), outcome.alarming)
                )
            elif isinstance(outcome, Drop):
                dropped[outcome.reason] += 1
        for reason, count in dropped.items():
            metrics.skipped.labels(self.name, reason).inc(count)
        return events, dead_letters

    async def _publish(self, entry: OutboxEntry) -> None:
        if self._outbox is not None:
            await self._outbox.publish(entry, self._health)
        elif entry.records:
            await retry_while_unavailable(partial(self._send, entry.records), self._health)


def traceparent_of(record: Record) -> bytes | None:
    return next((value for name, value in record.headers if name == TRACEPARENT), None)


def dead_letter(record: Record, reason: str, error: BaseException | None = None) -> Outgoing:
    """The record as it came; in its headers why, and from where.

    It needs no outbox: the offset has not moved, so after a crash it is moved again.
    """
    why = {
        "dlq_reason": reason,
        "dlq_error": repr(error)[:500] if error else "",
        "dlq_topic": record.topic,
        "dlq_partition": str(record.partition),
        "dlq_offset": str(record.offset),
    }
    headers: dict[str, Any] = dict(record.headers)
    return Outgoing(
        topic=record.topic + DLQ_SUFFIX,
        key=record.key,
        value=record.value,
        headers={**headers, **{name: text.encode() for name, text in why.items()}},
    )
