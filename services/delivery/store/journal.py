"""The journal of attempts: who may send, and whether end of data may have been seen.

Every statement takes a batch. A row moves started → data_sent → done, each step only where the
epoch is the writer's and the stage is the one it knows.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from contracts.delivery.v1 import delivery_service_pb2 as service
from contracts.delivery.v1.events_pb2 import AttemptOutcome, DeliveryAttempted
from contracts.kernel.v1.outbox_pb2 import Outgoing, OutgoingBatch
from contracts.router.v1.events_pb2 import DeliveryAssigned
from kernel.database import Database, Transaction
from services.delivery.domain.attempt_result import STALE, attempted_event
from services.delivery.domain.owned_attempt import AttemptKey

# `started` needs no sync of its own: a row that is lost was not sent, and is asked for again.
BEGIN = """
WITH me AS MATERIALIZED (
    SELECT epoch, set_config('synchronous_commit', 'off', true) AS quiet
    FROM delivery.workers WHERE epoch = %(epoch)s AND NOT expired FOR SHARE
), new AS (
    INSERT INTO delivery.attempts
        (message_id, attempt, tenant_id, epoch, stage, outcome, not_after, assignment)
    SELECT message_id, attempt, tenant_id, me.epoch,
        CASE WHEN not_after < now() THEN 'done' ELSE 'started' END,
        CASE WHEN not_after < now() THEN 'stale' END, not_after, assignment
    FROM me, (
        SELECT message_id, attempt, tenant_id, to_timestamp(until_s) AS not_after, assignment
        FROM unnest(%(ids)s::uuid[], %(attempts)s::int[], %(tenants)s::uuid[],
            %(until_s)s::float8[], %(assignments)b::bytea[])
            AS g (message_id, attempt, tenant_id, until_s, assignment)
    ) AS given
    ORDER BY message_id, attempt
    ON CONFLICT DO NOTHING
    RETURNING message_id, attempt, outcome, not_after
)
SELECT message_id::text, attempt, outcome, extract(epoch FROM not_after - now())::float8 FROM new
UNION ALL
SELECT NULL, 0, quiet, 0 FROM me
"""

EXISTING = """
SELECT a.message_id::text, a.attempt, a.epoch = %s AND a.stage = 'started', a.outcome,
    extract(epoch FROM a.not_after - now())::float8, a.attempted
FROM delivery.attempts a
JOIN unnest(%s::uuid[], %s::int[]) AS g (message_id, attempt) USING (message_id, attempt)
"""

# The steps of a group in one statement, for each statement costs as much as ten rows: with an
# outcome to `done`, without to `data_sent`. Open is decided by the stage: the outcome would let the
# planner read all that is open, for each row. The bounds let it leave out the other days, the
# array keeps it from reading all that lies between them. What is done is never sent again: its
# assignment, the longer half of the row, goes.
STEP = """
UPDATE delivery.attempts a SET stage = CASE g.outcome WHEN '' THEN 'data_sent' ELSE 'done' END,
    outcome = nullif(g.outcome, ''), ambiguous = g.outcome = 'ambiguous',
    attempted = nullif(g.attempted, ''),
    assignment = CASE g.outcome WHEN '' THEN a.assignment ELSE '' END
FROM unnest(%(ids)s::uuid[], %(attempts)s::int[], %(epochs)s::bigint[], %(resumed)s::bool[],
    %(outcomes)s::text[], %(events)b::bytea[], %(records)b::bytea[]) WITH ORDINALITY
    AS g (message_id, attempt, epoch, resumed, outcome, attempted, record, place)
WHERE a.message_id BETWEEN %(first)s::uuid AND %(last)s::uuid
    AND a.message_id = ANY (%(ids)s::uuid[])
    AND a.message_id = g.message_id AND a.attempt = g.attempt AND a.epoch = g.epoch
    AND (a.stage = 'started' OR (a.stage = 'data_sent' AND (g.outcome <> '' OR g.resumed)))
RETURNING g.place, g.record
"""

# Messages of an OutgoingBatch, put behind one another, are an OutgoingBatch (protobuf's encoding
# of a repeated field), so that the outbox publishes what was moved.
COMMIT = f"""
WITH moved AS ({STEP}), published AS (
    INSERT INTO delivery.outbox (records, messages, due_at)
    SELECT string_agg(record, ''::bytea), count(*), now() + make_interval(secs => %(sweep_after_s)s)
    FROM moved WHERE record <> '' HAVING count(*) > 0
    RETURNING id
)
SELECT place, NULL::bigint FROM moved
UNION ALL SELECT NULL, id FROM published
"""  # noqa: S608 - our own words

OUTCOME_NAMES = {
    number: name.removeprefix("ATTEMPT_OUTCOME_").lower() for name, number in AttemptOutcome.items()
}

FIND_ATTEMPTS = """
SELECT a.message_id, a.attempt, a.stage, a.started_at, a.assignment, a.attempted
FROM delivery.attempts a
JOIN unnest(%s::uuid[], %s::int[]) AS g (message_id, attempt) USING (message_id, attempt)
"""


class EpochExpired(Exception):
    """The epoch is not alive: whoever holds it registers again."""


@dataclass(frozen=True, slots=True)
class BeginResult:
    """What became of an assignment: its row, as it stands now.

    new: inserted here. ours: begun under our epoch, here or by a commit whose answer was lost.
    left_s: until not_after. attempted: the recorded event of a row that was done before.
    """

    is_new: bool
    is_ours: bool
    outcome: str | None
    left_s: float
    attempted: bytes | None = None


@dataclass(frozen=True, slots=True)
class AttemptClaim:
    """An attempt as its holder names it.

    resumed: its holder has committed `data_sent` before without learning the result, and has not
    ended the data since: then `data_sent` is its own.
    """

    key: AttemptKey
    epoch: int
    resumed: bool = False


@dataclass(frozen=True, slots=True)
class FinishedAttempt:
    """An attempt that came to its end; record: its event, to be published."""

    claim: AttemptClaim
    event: DeliveryAttempted
    record: Outgoing

    @property
    def key(self) -> AttemptKey:
        return self.claim.key


class Journal:
    """Bound to a transaction by each call."""

    async def begin(
        self, tx: Transaction, assignments: Mapping[AttemptKey, DeliveryAssigned], *, epoch: int
    ) -> dict[AttemptKey, BeginResult]:
        """Insert `started`, or `done` where it is too late; what is missing in the answer another
        transaction has just inserted. Raises EpochExpired."""
        given = assignments.values()
        rows = await tx.rows(
            BEGIN,
            {
                "epoch": epoch,
                "ids": [key.message_id for key in assignments],
                "attempts": [key.attempt for key in assignments],
                "tenants": [one.context.tenant_id for one in given],
                "until_s": [one.not_after.ToMicroseconds() / 1e6 for one in given],
                "assignments": [one.SerializeToString() for one in given],
            },
        )
        begun = {
            AttemptKey(message_id, attempt): BeginResult(True, outcome is None, outcome, left_s)
            for message_id, attempt, outcome, left_s in rows
            if message_id is not None
        }
        if len(begun) == len(rows):
            raise EpochExpired
        if others := assignments.keys() - begun.keys():
            begun |= await self._load_existing(tx, others, epoch=epoch)
        return begun

    async def _load_existing(
        self, tx: Transaction, keys: Collection[AttemptKey], *, epoch: int
    ) -> dict[AttemptKey, BeginResult]:
        ids, attempts = [key.message_id for key in keys], [key.attempt for key in keys]
        return {
            AttemptKey(message_id, attempt): BeginResult(
                False, mine and outcome is None, outcome, left_s, event
            )
            for message_id, attempt, mine, outcome, left_s, event in await tx.rows(
                EXISTING, (epoch, ids, attempts)
            )
        }

    async def commit(
        self,
        database: Database,
        steps: Sequence[AttemptClaim | FinishedAttempt],
        *,
        sweep_after_s: float,
    ) -> tuple[list[bool], int | None]:
        """Durable when it returns: `data_sent` of some, the end of others, and its outbox row.

        Which of them moved, and the row. What did not move is no longer ours: its data must not be
        ended, and its result not be published.
        """
        places = _ordered(steps)
        params = _params([steps[place] for place in places]) | {"sweep_after_s": sweep_after_s}
        moved = [False] * len(steps)
        outbox_row: int | None = None
        for place, row in await database.execute_autocommit(COMMIT, params):
            if row is None:
                moved[places[place - 1]] = True
            else:
                outbox_row = row
        return moved, outbox_row

    async def finish(
        self, tx: Transaction, ended: Sequence[FinishedAttempt]
    ) -> list[FinishedAttempt]:
        """Those that were still open, under the epoch that is said."""
        ordered = [ended[place] for place in _ordered(ended)]
        return [ordered[place - 1] for place, _ in await tx.rows(STEP, _params(ordered))]

    async def find(
        self, tx: Transaction, keys: Sequence[AttemptKey]
    ) -> list[service.AttemptRecord]:
        """What is known of attempts; those that are unknown are not among them."""
        params = ([key.message_id for key in keys], [key.attempt for key in keys])
        return [_record(*row) for row in await tx.rows(FIND_ATTEMPTS, params)]


def outcome_name(event: DeliveryAttempted) -> str:
    """delivered, permanent, temporary, stale or ambiguous."""
    return OUTCOME_NAMES[event.outcome]


def _ordered(steps: Sequence[AttemptClaim | FinishedAttempt]) -> list[int]:
    """Their places by key: rows are locked in one order by all."""
    return sorted(range(len(steps)), key=lambda place: steps[place].key)


def _params(steps: Sequence[AttemptClaim | FinishedAttempt]) -> dict[str, Any]:
    """What STEP takes; arrays without NULLs, which are quicker to write."""
    ends = [one if isinstance(one, FinishedAttempt) else None for one in steps]
    claim = [one.claim if isinstance(one, FinishedAttempt) else one for one in steps]
    ids = [one.key.message_id for one in claim]
    return {
        "ids": ids,
        "first": ids[0],
        "last": ids[-1],
        "attempts": [one.key.attempt for one in claim],
        "epochs": [one.epoch for one in claim],
        "resumed": [one.resumed for one in claim],
        "outcomes": [outcome_name(one.event) if one else "" for one in ends],
        "events": [one.record.value if one else b"" for one in ends],
        "records": [_packed(one.record) if one else b"" for one in ends],
    }


def _packed(record: Outgoing) -> bytes:
    """An OutgoingBatch of one."""
    return OutgoingBatch(records=[record]).SerializeToString()


def _record(  # noqa: PLR0917 - the columns of FIND_ATTEMPTS
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
        record.attempted.CopyFrom(attempted_event(late, STALE, at_ms=at_ms))
    return record
