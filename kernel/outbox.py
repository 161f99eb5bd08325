"""The outbox: holds events from the commit until the broker acknowledges them."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import NamedTuple, TypeAlias

import sqlalchemy as sa

from contracts.kernel.v1.outbox_pb2 import Outgoing, OutgoingBatch
from kernel.database import Database, Transaction
from kernel.errors import Unavailable
from kernel.failpoint import failpoint
from kernel.health import DependencyHealth
from kernel.retry import retry_while_unavailable

Send: TypeAlias = Callable[[Sequence[Outgoing]], Awaitable[None]]  # returns when acknowledged

# Sizes are those of rows; in memory a record of 1 KB takes 2.5 KB.
ROW_BYTES_MAX = 1_000_000
RECORD_BYTES = 500  # key and headers of a record
ENTRY_BYTES = 16 * 1024  # minimum for a task, its futures and its rows
ENTRY_BYTES_MAX = 16 * 1024 * 1024  # of one transaction, published from memory
BACKGROUND_BYTES_MAX = 32 * 1024 * 1024  # published from memory after the response
SWEEP_BYTES_MAX = 4 * 1024 * 1024
SWEEP_ROWS_MAX = 1_000
STEP = 100  # records packed at a time, about 5 ms
POSTPONE_FACTOR = 6  # times sweep_after_s
DRAIN_TIMEOUT_S = 5.0  # for publishes in progress at a shutdown; what is left is published later


class OutboxRow(NamedTuple):
    """data: an OutgoingBatch of the records. last: whether it is the last row of its
    transaction."""

    data: bytes
    records: Sequence[Outgoing]
    last: bool = True


@dataclass(slots=True)
class OutboxEntry:
    """The events of one transaction that are published from memory, and their rows."""

    records: list[Outgoing] = field(default_factory=list)
    rows: list[int] = field(default_factory=list)
    size: int = ENTRY_BYTES


def outbox_table(metadata: sa.MetaData) -> sa.Table:
    return sa.Table(
        "outbox",
        metadata,
        sa.Column("id", sa.BigInteger, sa.Identity(), primary_key=True),
        sa.Column("records", sa.LargeBinary, nullable=False),
        sa.Column("messages", sa.Integer, nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), server_default=sa.func.now()),
        sa.Column("due_at", sa.DateTime(timezone=True), nullable=False, index=True),
    )


class Outbox:
    """One per service and process. schema: of the table."""

    def __init__(
        self, database: Database, schema: str, send: Send, *, sweep_after_s: float = 5.0
    ) -> None:
        self._database = database
        self._schema = schema
        self._table = f"{schema}.outbox"
        self._send = send
        self._sweep_after_s = sweep_after_s
        self._publishing: set[int] = set()
        self._acknowledged: set[int] = set()
        self._background: set[asyncio.Task[None]] = set()
        self._background_bytes = 0

    def loop_actions(
        self, sweep_every_s: float
    ) -> list[tuple[float, Callable[[], Awaitable[None]]]]:
        """(interval, action) pairs for the service to run; separate, because a sweep may block."""
        return [(sweep_every_s, self.sweep), (self._sweep_after_s / 3, self.postpone_sweep)]

    async def add(self, tx: Transaction, records: Iterable[Outgoing]) -> OutboxEntry:
        """Write the transaction's records; the caller publishes the entry after the commit."""
        entry = self.open_entry(tx)
        async for row in pack_rows(records):
            await self.insert_row(tx, entry, row)
        return entry

    def open_entry(self, tx: Transaction) -> OutboxEntry:
        """Create the entry of a transaction. If it fails, the sweep handles any rows."""
        entry = OutboxEntry()
        tx.after_rollback(partial(self.leave_to_sweep, entry))
        return entry

    async def insert_row(self, tx: Transaction, entry: OutboxEntry, row: OutboxRow) -> None:
        [(number,)] = await tx.rows(
            f"INSERT INTO {self._table} (records, messages, due_at)"  # noqa: S608 - our own name
            " VALUES (%b, %b, now() + make_interval(secs => %b)) RETURNING id",
            self.insert_params(row),
        )
        self.register_row(entry, number, row.records, octets=len(row.data))

    def insert_params(self, row: OutboxRow) -> tuple[bytes, int, float]:
        """For stores that insert a row with their own statement: records, messages, and in how
        many seconds the row is due."""
        return row.data, len(row.records), self._sweep_after_s

    def register_row(
        self, entry: OutboxEntry, number: int, records: Sequence[Outgoing], *, octets: int
    ) -> None:
        """Add a written row to the entry; beyond ENTRY_BYTES_MAX the row is left to the sweep."""
        if entry.size + octets > ENTRY_BYTES_MAX:
            return
        entry.rows.append(number)
        entry.records += records
        entry.size += octets
        self._publishing.add(number)

    def leave_to_sweep(self, entry: OutboxEntry) -> None:
        """Leave the entry's rows, if any, to the sweep."""
        self._publishing.difference_update(entry.rows)

    async def publish(self, entry: OutboxEntry, health: DependencyHealth) -> None:
        """Publish from memory. Rows that are never acknowledged are left to the sweep."""
        if not entry.records:
            return
        failpoint(f"{self._schema}.outbox.committed")
        try:
            await retry_while_unavailable(partial(self._send, entry.records), health)
            self._acknowledged.update(entry.rows)
        finally:
            self.leave_to_sweep(entry)
        failpoint(f"{self._schema}.outbox.published")

    def publish_in_background(self, entry: OutboxEntry, health: DependencyHealth) -> None:
        """Publish after the response. Beyond BACKGROUND_BYTES_MAX the rows are left to the sweep,
        so that a long outage of the broker does not fill the memory."""
        if not entry.records:
            return
        if self._background_bytes + entry.size > BACKGROUND_BYTES_MAX:
            self.leave_to_sweep(entry)
            return
        self._background_bytes += entry.size
        task = asyncio.create_task(self.publish(entry, health))
        self._background.add(task)
        task.add_done_callback(partial(self._published, entry.size))

    def _published(self, size: int, task: asyncio.Task[None]) -> None:
        self._background_bytes -= size
        self._background.discard(task)

    async def sweep(self) -> None:
        """Delete acknowledged rows in batches; publish rows that a crash left."""
        await self.delete_acknowledged()
        while claimed := await self._claim():
            sends = [self._publish_claimed(row, data) for row, data in claimed]
            failed = [e for e in await asyncio.gather(*sends, return_exceptions=True) if e]
            await self.delete_acknowledged()
            if failed:
                raise failed[0]

    async def _publish_claimed(self, row: int, data: bytes) -> None:
        """Publish one row; a row that cannot be published does not hold back the others."""
        try:
            await self._send(OutgoingBatch.FromString(data).records)
            self._acknowledged.add(row)
        finally:
            self._publishing.discard(row)

    async def postpone_sweep(self) -> None:
        """Postpone rows that are still being published here, so that no other replica sweeps them.
        Usually few: most rows are acknowledged long before they are due."""
        if not self._publishing:
            return
        async with self._database.transaction() as tx:
            await tx.execute(
                f"UPDATE {self._table} SET due_at = now() + make_interval(secs => %s)"  # noqa: S608
                " WHERE id = ANY(%s) AND due_at < now() + make_interval(secs => %s)",
                (
                    self._sweep_after_s * POSTPONE_FACTOR,
                    list(self._publishing),
                    self._sweep_after_s * 2 / 3,
                ),
            )

    async def delete_acknowledged(self) -> None:
        if acknowledged := list(self._acknowledged):
            async with self._database.transaction() as tx:
                await tx.execute(
                    f"DELETE FROM {self._table} WHERE id = ANY(%s)",  # noqa: S608
                    (acknowledged,),
                )
            self._acknowledged.difference_update(acknowledged)

    async def backlog(self) -> tuple[int, float]:
        """Number of events in the outbox, and the age of the oldest in seconds."""
        async with self._database.transaction() as tx:
            [(messages, age_s)] = await tx.rows(
                "SELECT coalesce(sum(messages), 0)::bigint,"  # noqa: S608
                " coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8"
                f" FROM {self._table}"
            )
        return messages, age_s

    async def drain(self) -> None:
        """At shutdown: wait for publishes in progress, then delete acknowledged rows."""
        if self._background:
            await asyncio.wait(self._background, timeout=DRAIN_TIMEOUT_S)
        with suppress(Unavailable):  # the rows stay and are published again
            await self.delete_acknowledged()

    async def _claim(self) -> list[tuple[int, bytes]]:
        """Claim due rows up to SWEEP_BYTES_MAX, at least one. They are postponed, so that no other
        replica claims them meanwhile."""
        ours = self._publishing | self._acknowledged
        async with self._database.transaction() as tx:
            rows = await tx.rows(
                f"UPDATE {self._table} SET due_at = now() + make_interval(secs => %s)"  # noqa: S608
                " WHERE id IN (SELECT id FROM ("
                "SELECT id, sum(octets) OVER (ORDER BY id) - octets AS before FROM ("
                f"SELECT id, octet_length(records) AS octets FROM {self._table}"
                " WHERE due_at < now() AND id <> ALL(%s)"
                " ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED) AS due) AS counted"
                " WHERE before < %s) RETURNING id, records",
                (self._sweep_after_s, list(ours), SWEEP_ROWS_MAX, SWEEP_BYTES_MAX),
            )
        self._publishing.update(row for row, _ in rows)
        return sorted((row, bytes(data)) for row, data in rows)


async def pack_rows(records: Iterable[Outgoing]) -> AsyncIterator[OutboxRow]:
    """Rows of bounded size. `records` may be a generator; after every STEP records other tasks run,
    because ten thousand recipients take most of a second."""
    size, parts, packed = 0, list[bytes](), list[Outgoing]()
    left = iter(records)
    while step := list(islice(left, STEP)):
        for part, part_records in split_to_rows(step):
            if packed and size + len(part) > ROW_BYTES_MAX:
                yield OutboxRow(b"".join(parts), packed, last=False)
                size, parts, packed = 0, [], []
            size += len(part)
            parts.append(part)
            packed += part_records
        if len(step) == STEP:
            await asyncio.sleep(0)
    if packed:
        # Concatenated messages merge their repeated fields.
        yield OutboxRow(b"".join(parts), packed)


def split_to_rows(records: Sequence[Outgoing]) -> Iterator[tuple[bytes, Sequence[Outgoing]]]:
    """Split records in halves until each part fits into a row."""
    data = OutgoingBatch(records=records).SerializeToString()
    if len(data) <= ROW_BYTES_MAX or len(records) == 1:
        yield data, records
        return
    middle = len(records) // 2
    yield from split_to_rows(records[:middle])
    yield from split_to_rows(records[middle:])
