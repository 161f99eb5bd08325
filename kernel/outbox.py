"""Events wait here, from the commit until the broker has acknowledged them."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple, TypeAlias

import sqlalchemy as sa

from contracts.kernel.v1.outbox_pb2 import Outgoing, OutgoingBatch
from kernel.backoff import Health, patiently
from kernel.database import Database, Transaction
from kernel.errors import Unavailable
from kernel.failpoint import failpoint

Send: TypeAlias = Callable[[Sequence[Outgoing]], Awaitable[None]]  # returns when acknowledged

SWEEP_ROWS_MAX = 100
SWEEP_RECORDS = 2_000  # at least so many are sent together
BACKGROUND_MAX = 1_000  # entries that wait for the broker in memory


class Entry(NamedTuple):
    """The events of one transaction, and their row if they have one."""

    row: int | None
    records: Sequence[Outgoing]


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
    """One per service and process. `name` is the schema whose table it is."""

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

    async def add(self, tx: Transaction, records: Sequence[Outgoing]) -> Entry:
        """One row for everything that this transaction has to tell."""
        if not records:
            return Entry(None, ())
        [(row,)] = await tx.rows(self.insert_sql, self.insert_params(records))
        entry = self.adopt(row, records)  # from here on its caller publishes it, not the sweep
        tx.after_rollback(partial(self._leave, entry))
        return entry

    @property
    def insert_sql(self) -> str:
        """For stores that write the row with a statement of their own."""
        return (
            f"INSERT INTO {self._table} (records, messages, due_at)"  # noqa: S608 - our own name
            " VALUES (%s, %s, now() + make_interval(secs => %s)) RETURNING id"
        )

    def insert_params(self, records: Sequence[Outgoing]) -> tuple[bytes, int, float]:
        batch = OutgoingBatch(records=records).SerializeToString()
        return batch, len(records), self._sweep_after_s

    def adopt(self, row: int, records: Sequence[Outgoing]) -> Entry:
        """A row that a store wrote itself, and committed: from here on published like ours."""
        self._publishing.add(row)
        return Entry(row, records)

    def _leave(self, entry: Entry) -> None:
        """To the sweep, should its row be there."""
        if entry.row is not None:
            self._publishing.discard(entry.row)

    async def publish(self, entry: Entry, health: Health) -> None:
        """Straight from memory, patiently; a row that is not told in the end is the sweep's."""
        if not entry.records:
            return
        failpoint(f"{self._schema}.outbox.committed")
        try:
            await patiently(partial(self._send, entry.records), health)
            if entry.row is not None:
                self._acknowledged.add(entry.row)
        finally:
            self._leave(entry)
        failpoint(f"{self._schema}.outbox.published")

    def publish_soon(self, entry: Entry, health: Health) -> None:
        """For doors that answer before the broker has: publish, patiently, in the background."""
        if not entry.records:
            return
        task = asyncio.create_task(self._publish_or_leave(entry, health))
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _publish_or_leave(self, entry: Entry, health: Health) -> None:
        """A broker that is away for long must not fill the memory: the sweep finds the rows."""
        if len(self._background) <= BACKGROUND_MAX:
            await self.publish(entry, health)
        else:
            self._leave(entry)

    async def sweep(self) -> None:
        """Delete what is acknowledged, in groups; publish what a crash has left behind."""
        await self.flush()
        while claimed := await self._claim():
            for rows, records in together(claimed):
                await self._send(records)  # outside: no transaction waits for another machine
                self._acknowledged.update(rows)
            await self.flush()

    async def flush(self) -> None:
        if acknowledged := list(self._acknowledged):
            async with self._database.transaction() as tx:
                await tx.execute(
                    f"DELETE FROM {self._table} WHERE id = ANY(%s)",  # noqa: S608
                    (acknowledged,),
                )
            self._acknowledged.difference_update(acknowledged)

    async def backlog(self) -> tuple[int, float]:
        """How many events wait here, and since how many seconds the oldest does."""
        async with self._database.transaction() as tx:
            [(messages, age_s)] = await tx.rows(
                "SELECT coalesce(sum(messages), 0)::bigint,"  # noqa: S608
                " coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8"
                f" FROM {self._table}"
            )
        return messages, age_s

    async def drain(self) -> None:
        """On the way out: what is in flight, then the rows that are acknowledged."""
        if self._background:
            await asyncio.wait(self._background, timeout=5)
        with suppress(Unavailable):  # without the database the rows stay: they are told again
            await self.flush()

    async def _claim(self) -> list[tuple[int, bytes]]:
        """Put them off, so that no other replica takes them while we publish."""
        ours = self._publishing | self._acknowledged
        async with self._database.transaction() as tx:
            rows = await tx.rows(
                f"UPDATE {self._table} SET due_at = now() + make_interval(secs => %s)"  # noqa: S608
                f" WHERE id IN (SELECT id FROM {self._table} WHERE due_at < now()"
                " AND id <> ALL(%s) ORDER BY id LIMIT %s FOR UPDATE SKIP LOCKED)"
                " RETURNING id, records",
                (self._sweep_after_s, list(ours), SWEEP_ROWS_MAX),
            )
        return sorted((row, bytes(data)) for row, data in rows)


def together(claimed: Sequence[tuple[int, bytes]]) -> Iterator[tuple[list[int], list[Outgoing]]]:
    """Rows and their records in groups: one round trip for many, and bounded."""
    rows: list[int] = []
    records: list[Outgoing] = []
    for row, data in claimed:
        rows.append(row)
        records += OutgoingBatch.FromString(data).records
        if len(records) >= SWEEP_RECORDS:
            yield rows, records
            rows, records = [], []
    if rows:
        yield rows, records
