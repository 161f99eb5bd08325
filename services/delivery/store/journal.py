"""The journal of attempts: who may send, and whether the final dot may have been seen.

Every statement takes a batch. A row moves started → data_sent → done, each step only where the
epoch is the writer's and the stage is the one it knows.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from contracts.delivery.v1 import delivery_service_pb2 as service
from contracts.delivery.v1.events_pb2 import DeliveryAttempted, Outcome
from contracts.kernel.v1.outbox_pb2 import Outgoing, OutgoingBatch
from contracts.router.v1.events_pb2 import DeliveryAssigned
from kernel.database import Database, Transaction
from kernel.ids import time_of
from services.delivery.domain.ending import STALE, attempted
from services.delivery.domain.started import Key

# `started` needs no sync of its own: a row that is lost was not sent, and is asked for again.
BEGIN = """
WITH me AS MATERIALIZED (
    SELECT epoch, set_config('synchronous_commit', 'off', true) AS quiet
    FROM delivery.workers WHERE epoch = %(epoch)s AND NOT dead FOR SHARE
), given AS MATERIALIZED (
    SELECT * FROM unnest(%(ids)s::uuid[], %(attempts)s::int[], %(tenants)s::uuid[],
        %(not_after)s::timestamptz[], %(assignments)b::bytea[])
        AS g (message_id, attempt, tenant_id, not_after, assignment)
), new AS (
    INSERT INTO delivery.attempts
        (message_id, attempt, tenant_id, epoch, stage, outcome, not_after, assignment)
    SELECT message_id, attempt, tenant_id, me.epoch,
        CASE WHEN not_after < now() THEN 'done' ELSE 'started' END,
        CASE WHEN not_after < now() THEN 'stale' END, not_after, assignment
    FROM given, me ORDER BY message_id, attempt
    ON CONFLICT DO NOTHING
    RETURNING message_id, attempt, outcome, not_after
)
SELECT message_id, attempt, 'new', outcome, extract(epoch FROM not_after - now())::float8,
    NULL::bytea FROM new
UNION ALL
SELECT message_id, attempt, CASE WHEN a.epoch = %(epoch)s AND a.stage = 'started' THEN 'mine'
    ELSE 'known' END, a.outcome, extract(epoch FROM a.not_after - now())::float8, a.attempted
FROM delivery.attempts a JOIN given USING (message_id, attempt)
UNION ALL
SELECT NULL, 0, quiet, NULL, 0, NULL FROM me
"""

# What is done is never sent again: its assignment, the longer half of the row, goes.
DONE = """
UPDATE delivery.attempts a SET stage = 'done', outcome = g.outcome, ambiguous = g.ambiguous,
    attempted = g.attempted, assignment = ''
FROM unnest(%(ids)s::uuid[], %(attempts)s::int[], %(epochs)s::bigint[], %(outcomes)s::text[],
    %(ambiguous)s::bool[], %(events)b::bytea[], %(records)b::bytea[])
    AS g (message_id, attempt, epoch, outcome, ambiguous, attempted, record)
WHERE a.message_id = g.message_id AND a.attempt = g.attempt AND a.epoch = g.epoch
    AND a.outcome IS NULL
RETURNING a.message_id, a.attempt, g.record
"""

# A whole group in one statement. Messages of an OutgoingBatch, put behind one another, are an
# OutgoingBatch (protobuf's encoding of a repeated field), so that the outbox tells what was moved.
COMMIT = f"""
WITH sent AS (
    UPDATE delivery.attempts a SET stage = 'data_sent'
    FROM unnest(%(sent_ids)s::uuid[], %(sent_attempts)s::int[], %(sent_epochs)s::bigint[],
        %(again)s::bool[]) AS g (message_id, attempt, epoch, again)
    WHERE a.message_id = g.message_id AND a.attempt = g.attempt AND a.epoch = g.epoch
        AND (a.stage = 'started' OR (a.stage = 'data_sent' AND g.again))
    RETURNING a.message_id, a.attempt
), done AS ({DONE}), told AS (
    INSERT INTO delivery.outbox (records, messages, due_at)
    SELECT string_agg(record, ''::bytea), count(*), now() + make_interval(secs => %(sweep_after_s)s)
    FROM done HAVING count(*) > 0
    RETURNING id
)
SELECT message_id, attempt, NULL::bigint FROM sent
UNION ALL SELECT message_id, attempt, NULL FROM done
UNION ALL SELECT NULL, NULL, id FROM told
"""  # noqa: S608 - our own words

FOUND = """
SELECT a.message_id, a.attempt, a.stage, a.started_at, a.assignment, a.attempted
FROM delivery.attempts a
JOIN unnest(%s::uuid[], %s::int[]) AS g (message_id, attempt) USING (message_id, attempt)
"""


class Dead(Exception):
    """The epoch is not alive: whoever holds it registers again."""


@dataclass(frozen=True, slots=True)
class Begun:
    """What became of an assignment: its row, as it stands now.

    new: inserted here. ours: begun under our epoch, here or by a commit whose answer was lost.
    left_s: until not_after. attempted: the recorded event of a row that was done before.
    """

    new: bool
    ours: bool
    outcome: str | None
    left_s: float
    attempted: bytes | None = None


@dataclass(frozen=True, slots=True)
class Held:
    """An attempt as its holder names it.

    again: its holder has asked before and not heard the answer, and has sent no dot since: then
    `data_sent` is its own.
    """

    key: Key
    epoch: int
    again: bool = False


@dataclass(frozen=True, slots=True)
class Done:
    """An attempt that came to its end; record: how it is told."""

    held: Held
    event: DeliveryAttempted
    record: Outgoing


class Journal:
    """Bound to a transaction by each call."""

    async def begin(
        self, tx: Transaction, assignments: Sequence[DeliveryAssigned], *, epoch: int
    ) -> dict[Key, Begun]:
        """Insert `started`, or `done` where it is too late; what is missing in the answer another
        transaction has just inserted. Raises Dead."""
        rows = await tx.rows(
            BEGIN,
            {
                "epoch": epoch,
                "ids": [one.message_id for one in assignments],
                "attempts": [one.attempt for one in assignments],
                "tenants": [one.envelope.tenant_id for one in assignments],
                "not_after": [one.not_after.ToDatetime(UTC) for one in assignments],
                "assignments": [one.SerializeToString() for one in assignments],
            },
        )
        begun: dict[Key, Begun] = {}
        alive = False
        for message_id, attempt, how, outcome, left_s, event in rows:
            if message_id is None:
                alive = True
            else:
                new = how == "new"
                ours = outcome is None and how != "known"
                begun[_key(message_id, attempt)] = Begun(new, ours, outcome, left_s, event)
        if not alive:
            raise Dead
        return begun

    async def commit(
        self,
        database: Database,
        sent: Sequence[Held],
        *,
        ended: Sequence[Done],
        sweep_after_s: float,
    ) -> tuple[set[Key], int | None]:
        """Durable when it returns: `data_sent` of some, the end of others, and its outbox row.

        The keys of those that moved, and the row. What did not move is no longer ours: its dot
        must not be sent, its answer not be told.
        """
        params = _sent(sent) | _ends(ended) | {"sweep_after_s": sweep_after_s}
        moved: set[Key] = set()
        outbox_row: int | None = None
        for message_id, attempt, row in await database.once(COMMIT, params):
            if row is None:
                moved.add(_key(message_id, attempt))
            else:
                outbox_row = row
        return moved, outbox_row

    async def done(self, tx: Transaction, ended: Sequence[Done]) -> set[Key]:
        """Those that were still open, under the epoch that is said."""
        rows = await tx.rows(DONE, _ends(ended))
        return {_key(message_id, attempt) for message_id, attempt, _ in rows}

    async def find(self, tx: Transaction, keys: Sequence[Key]) -> list[service.AttemptRecord]:
        """What is known of attempts; those that are unknown are not among them."""
        params = ([key.message_id for key in keys], [key.attempt for key in keys])
        return [_record(*row) for row in await tx.rows(FOUND, params)]


class Days:
    """The day partitions of the journal, as this process knows them."""

    def __init__(self, database: Database, *, kept_days: int) -> None:
        self._database = database
        self._kept_days = kept_days
        self._known: set[date] = set()

    def missing(self, ids: Iterable[str]) -> set[date]:
        return {time_of(UUID(one)).date() for one in ids} - self._known

    def forgotten(self, day: date, now: datetime) -> bool:
        """Whether a message of that day can no longer be told from a repeat."""
        return not timedelta(days=-2) <= now.date() - day < timedelta(days=self._kept_days)

    async def ensure(self, days: Iterable[date]) -> None:
        """Make those that are missing, in a transaction of their own."""
        days = list(days)
        async with self._database.transaction() as tx:
            for day in days:
                await tx.rows("SELECT delivery.ensure_day_partition('attempts', %s)", (day,))
        self._known.update(days)

    async def prepare(self, now: datetime) -> None:
        """Make those of the days to come."""
        await self.ensure({now.date() + timedelta(days=ahead) for ahead in range(3)} - self._known)

    async def drop(self, now: datetime) -> None:
        """Those that are older than any message can be."""
        async with self._database.transaction() as tx:
            for (day,) in await tx.rows("SELECT delivery.day_partitions('attempts')"):
                if now.date() - day > timedelta(days=self._kept_days):
                    await tx.rows("SELECT delivery.drop_day_partition('attempts', %s)", (day,))
                    self._known.discard(day)


def word_of(event: DeliveryAttempted) -> str:
    """delivered, permanent, temporary, stale or ambiguous."""
    return Outcome.Name(event.outcome).removeprefix("OUTCOME_").lower()


def _sent(sent: Sequence[Held]) -> dict[str, Any]:
    ordered = sorted(sent, key=lambda one: one.key)
    ids, attempts, epochs = _columns(ordered)
    again = [one.again for one in ordered]
    return {"sent_ids": ids, "sent_attempts": attempts, "sent_epochs": epochs, "again": again}


def _ends(ended: Sequence[Done]) -> dict[str, Any]:
    ordered = sorted(ended, key=lambda one: one.held.key)
    ids, attempts, epochs = _columns([one.held for one in ordered])
    return {
        "ids": ids,
        "attempts": attempts,
        "epochs": epochs,
        "outcomes": [word_of(one.event) for one in ordered],
        "ambiguous": [one.event.ambiguous for one in ordered],
        "events": [one.event.SerializeToString() for one in ordered],
        "records": [OutgoingBatch(records=[one.record]).SerializeToString() for one in ordered],
    }


def _columns(held: Sequence[Held]) -> tuple[list[str], list[int], list[int]]:
    return (
        [one.key.message_id for one in held],
        [one.key.attempt for one in held],
        [one.epoch for one in held],
    )


def _record(  # noqa: PLR0917 - the columns of FOUND
    message_id: UUID,
    attempt: int,
    stage: str,
    started_at: datetime,
    assignment: bytes,
    event: bytes | None,
) -> service.AttemptRecord:
    key = service.AttemptKey(message_id=str(message_id), attempt=attempt)
    record = service.AttemptRecord(key=key, stage=stage)
    if event is not None:
        record.attempted.ParseFromString(event)
    elif stage == "done":  # it came too late: nothing more was written
        at_ms = int(started_at.timestamp() * 1000)
        late = DeliveryAssigned.FromString(assignment)
        record.attempted.CopyFrom(attempted(late, STALE, at_ms=at_ms))
    return record


def _key(message_id: UUID, attempt: int) -> Key:
    return Key(str(message_id), attempt)
