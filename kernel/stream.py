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
from kernel.backoff import Health, patiently
from kernel.database import Database, Transaction
from kernel.errors import Overloaded, TooManyParked
from kernel.failpoint import failpoint
from kernel.outbox import Entry, Outbox
from kernel.outcome import Drop, Emit, Outcome, Park
from kernel.topics import PARKED, TRACEPARENT, contract_of, encode

M = TypeVar("M", bound=Message)
Handler: TypeAlias = Callable[[Sequence[M], Transaction], Awaitable[Sequence[Outcome]]]
RowlessHandler: TypeAlias = Callable[[Sequence[M]], Awaitable[Sequence[Outcome]]]
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


class Brake:
    """Parking is for single records. When many park, stop before all of them have."""

    def __init__(self, *, parked_share_max: float = 0.1, window: int = 1000) -> None:
        self._parked_max = parked_share_max * window
        self._recent: deque[bool] = deque(maxlen=window)

    def count(self, records: int, *, parked: int) -> None:
        self._recent.extend([True] * parked + [False] * (records - parked))
        if (recently := sum(self._recent)) > self._parked_max:
            raise TooManyParked(f"{recently} of the last {len(self._recent)} records")


class Parked(NamedTuple):
    record: Outgoing
    alarming: bool = True


class AsksTooMuch(Exception):
    """The database gives up on this batch alone, time and again."""


class Stream(Generic[M]):
    """One kind of event or several, their handler, and everything that may go wrong around it.

    With a database and an outbox, a batch is one transaction; without, the handler has no rows
    and what it emits is acknowledged before the offsets move.
    """

    def __init__(  # noqa: PLR0913 - each a part of the loop
        self,
        *events: type[M],
        name: str,
        handler: Handler[M] | RowlessHandler[M],
        health: Health,
        send: Callable[[Sequence[Outgoing]], Awaitable[None]],
        database: Database | None = None,
        outbox: Outbox | None = None,
        brake: Brake | None = None,
        referenced_bytes: Bytes[M] = lambda _: 0,
        gather_s: float = 0.0,
    ) -> None:
        self.events = events
        self.name = name
        self.gather_s = gather_s  # under load, from the start of a batch to that of the next
        self._handler: Callable[..., Awaitable[Sequence[Outcome]]] = handler
        self._health = health
        self._send = send
        self._database = database
        self._outbox = outbox
        self._brake = brake or Brake()
        self._referenced_bytes = referenced_bytes
        self._types = {
            name: event for event in events for name in contract_of(event.DESCRIPTOR).names
        }

    async def handle(self, records: Sequence[Record]) -> None:
        """Settle a batch. When this returns, and only then, its offsets may be committed."""
        batch, undecodable = self._decode(records)
        parked = list(undecodable)
        for part in self._bounded(batch):
            parked += await self._settle(part)
        self._brake.count(len(records), parked=sum(one.alarming for one in parked))
        if parked:
            await patiently(partial(self._send, [one.record for one in parked]), self._health)
            metrics.parked.labels(self.name).inc(len(parked))
        metrics.consumed.labels(self.name).inc(len(records))
        failpoint(f"{self.name}.settled")

    def _decode(self, records: Iterable[Record]) -> tuple[Batch[M], list[Parked]]:
        """Messages, one per event id, and what cannot be one."""
        found: dict[str, tuple[Record, M]] = {}
        undecodable: list[Parked] = []
        for record in records:
            try:
                message = self._types[record.topic].FromString(record.value or b"")
                found.setdefault(contract_of(message.DESCRIPTOR).id_for(message), (record, message))
            except (DecodeError, ValueError) as error:
                undecodable.append(Parked(park(record, "undecodable", error)))
        return list(found.values()), undecodable

    def _bounded(self, batch: Batch[M]) -> Iterable[Batch[M]]:
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

    async def _settle(self, batch: Batch[M], *, again: bool = False) -> list[Parked]:
        """Halve on a bug until its record is alone; return what has to be parked. again: a half of
        what asked too much of the database; only a record alone is then given more than one try."""
        if not batch:
            return []
        tries = 1 if again and len(batch) > 1 else OVERLOADS_MAX
        try:
            entry, parked = await self._decided(batch, tries=tries)
        except Exception as error:
            if len(batch) == 1:
                logger.exception("a record is parked", extra={"stream": self.name})
                return [Parked(park(batch[0][0], "handler failed", error))]
            again = isinstance(error, AsksTooMuch)
            middle = len(batch) // 2
            halves = batch[:middle], batch[middle:]
            return [one for half in halves for one in await self._settle(half, again=again)]
        await self._publish(entry)
        return parked

    async def _decided(self, batch: Batch[M], *, tries: int) -> tuple[Entry, list[Parked]]:
        """However long infrastructure is away. Raises what is the batch's own."""
        overloads = 0

        async def attempt() -> tuple[Entry, list[Parked]]:
            nonlocal overloads
            try:
                return await self._decide(batch)
            except Overloaded as error:
                overloads += 1
                if overloads >= tries and self._database and await self._database.answers():
                    raise AsksTooMuch(repr(error.__cause__)) from error
                raise

        return await patiently(attempt, self._health)

    async def _decide(self, batch: Batch[M]) -> tuple[Entry, list[Parked]]:
        """One transaction: rows, and the events about them, commit together or not at all."""
        messages = [message for _, message in batch]
        began_ns = time.time_ns()
        if self._database is None or self._outbox is None:
            outcomes = await self._handler(messages)
            events, parked = self._outgoing(batch, outcomes, began_ns)
            return Entry(events), parked
        async with self._database.transaction() as tx:
            outcomes = await self._handler(messages, tx)
            events, parked = self._outgoing(batch, outcomes, began_ns)
            entry = await self._outbox.add(tx, events)
            failpoint(f"{self.name}.in_transaction")
        failpoint(f"{self.name}.committed")
        return entry, parked

    def _outgoing(
        self, batch: Batch[M], outcomes: Sequence[Outcome], began_ns: int
    ) -> tuple[list[Outgoing], list[Parked]]:
        events: list[Outgoing] = []
        parked: list[Parked] = []
        dropped: Counter[str] = Counter()
        now = clock.now()
        for (record, _), outcome in zip(batch, outcomes, strict=True):
            if isinstance(outcome, Emit):
                trace = telemetry.told(self.name, traceparent_of(record), began_ns=began_ns)
                events += [encode(event, now, trace) for event in outcome.events]
            elif isinstance(outcome, Park):
                parked.append(Parked(park(record, outcome.reason), outcome.alarming))
            elif isinstance(outcome, Drop):
                dropped[outcome.reason] += 1
        for reason, count in dropped.items():
            metrics.dropped.labels(self.name, reason).inc(count)
        return events, parked

    async def _publish(self, entry: Entry) -> None:
        if self._outbox is not None:
            await self._outbox.publish(entry, self._health)
        elif entry.records:
            await patiently(partial(self._send, entry.records), self._health)


def traceparent_of(record: Record) -> bytes | None:
    return next((value for name, value in record.headers if name == TRACEPARENT), None)


def park(record: Record, reason: str, error: BaseException | None = None) -> Outgoing:
    """The record as it came; in its headers why, and from where.

    It needs no outbox: the offset has not moved, so a crash parks it again.
    """
    why = {
        "parked_reason": reason,
        "parked_error": repr(error)[:500] if error else "",
        "parked_topic": record.topic,
        "parked_partition": str(record.partition),
        "parked_offset": str(record.offset),
    }
    headers: dict[str, Any] = dict(record.headers)
    return Outgoing(
        topic=record.topic + PARKED,
        key=record.key,
        value=record.value,
        headers={**headers, **{name: text.encode() for name, text in why.items()}},
    )
