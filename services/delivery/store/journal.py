"""The journal of attempts: which worker may send, and whether end of data may have been sent.

Every statement takes a batch. A row moves from started to data_sent to done. Each step applies only
if the row has the epoch of the writer and the expected stage.
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
from kernel.days import first_day_bound
from services.delivery.domain.attempt_result import STALE, attempted_event
from services.delivery.domain.owned_attempt import AttemptKey

# `started` needs no synchronous commit: the message of a lost row was not sent, and router
# publishes its assignment again.
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
    ) AS batch
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

# The steps of a group in one statement, because a statement costs as much as ten rows. A step with
# an outcome moves its row to `done`, one without to `data_sent`. The stage decides whether a row is
# open. It is compared together with the epoch, so that the only way to find a row is its key: with
# a condition on the row alone, the plan may read all rows of a day. `first_day` excludes
# partitions. A finished message is never sent again, so its assignment, the larger half of the row,
# is removed.
STEP = """
UPDATE delivery.attempts a SET stage = CASE g.outcome WHEN '' THEN 'data_sent' ELSE 'done' END,
    outcome = nullif(g.outcome, ''), ambiguous = g.outcome = 'ambiguous',
    attempted = nullif(g.attempted, ''),
    assignment = CASE g.outcome WHEN '' THEN a.assignment ELSE '' END
FROM unnest(%(ids)s::uuid[], %(attempts)s::int[], %(epochs)s::bigint[], %(resumed)s::bool[],
    %(outcomes)s::text[], %(events)b::bytea[], %(records)b::bytea[]) WITH ORDINALITY
    AS g (message_id, attempt, epoch, resumed, outcome, attempted, record, place)
WHERE a.message_id >= %(first_day)s
    AND a.message_id = g.message_id AND a.attempt = g.attempt
    AND (a.stage || a.epoch = 'started' || g.epoch
        OR (a.stage || a.epoch = 'data_sent' || g.epoch AND (g.outcome <> '' OR g.resumed)))
RETURNING g.place, g.record
"""

# Concatenated OutgoingBatch messages are an OutgoingBatch (protobuf's encoding of repeated fields),
# so that the outbox publishes exactly the events of the rows that were moved.
COMMIT = f"""
WITH applied AS ({STEP}), published AS (
    INSERT INTO delivery.outbox (records, messages, due_at)
    SELECT string_agg(record, ''::bytea), count(*), now() + make_interval(secs => %(sweep_after_s)s)
    FROM applied WHERE record <> '' HAVING count(*) > 0
    RETURNING id
)
SELECT place, NULL::bigint FROM applied
UNION ALL SELECT NULL, id FROM published
"""  # noqa: S608 - constants of this module

OUTCOME_NAMES = {
    number: name.removeprefix("ATTEMPT_OUTCOME_").lower() for name, number in AttemptOutcome.items()
}

FIND_ATTEMPTS = """
SELECT a.message_id, a.attempt, a.stage, a.started_at, a.assignment, a.attempted
FROM delivery.attempts a
JOIN unnest(%s::uuid[], %s::int[]) AS g (message_id, attempt) USING (message_id, attempt)
"""


class EpochExpired(Exception):
    """The epoch has expired; its worker must register again."""


@dataclass(frozen=True, slots=True)
class BeginAttemptResult:
    """The row of an assignment as it is now.

    is_new: inserted by this call. is_ours: begun under our epoch, by this call or by a commit whose
    result was lost. left_s: until not_after. attempted: the recorded event of a finished attempt.
    """

    is_new: bool
    is_ours: bool
    outcome: str | None
    left_s: float
    attempted: bytes | None = None


@dataclass(frozen=True, slots=True)
class AttemptClaim:
    """An attempt under the epoch that owns it.

    resumed: its worker may have committed `data_sent` without learning the result, and has not sent
    end of data since; so it may record `data_sent` again.
    """

    key: AttemptKey
    epoch: int
    resumed: bool = False


@dataclass(frozen=True, slots=True)
class FinishedAttempt:
    """A finished attempt; record: its event, to be published."""

    claim: AttemptClaim
    event: DeliveryAttempted
    record: Outgoing

    @property
    def key(self) -> AttemptKey:
        return self.claim.key


class Journal:
    """Queries of the journal; each call takes its transaction."""

    async def begin(
        self, tx: Transaction, assignments: Mapping[AttemptKey, DeliveryAssigned], *, epoch: int
    ) -> dict[AttemptKey, BeginAttemptResult]:
        """Insert rows as `started`, or as `done` if their time is over. A row that is missing from
        the result is being inserted by another transaction. Raises EpochExpired."""
        values = assignments.values()
        rows = await tx.rows(
            BEGIN,
            {
                "epoch": epoch,
                "ids": [key.message_id for key in assignments],
                "attempts": [key.attempt for key in assignments],
                "tenants": [one.context.tenant_id for one in values],
                "until_s": [one.not_after.ToMicroseconds() / 1e6 for one in values],
                "assignments": [one.SerializeToString() for one in values],
            },
        )
        begun = {
            AttemptKey(message_id, attempt): BeginAttemptResult(
                True, outcome is None, outcome, left_s
            )
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
    ) -> dict[AttemptKey, BeginAttemptResult]:
        ids, attempts = [key.message_id for key in keys], [key.attempt for key in keys]
        return {
            AttemptKey(message_id, attempt): BeginAttemptResult(
                False, is_ours and outcome is None, outcome, left_s, event
            )
            for message_id, attempt, is_ours, outcome, left_s, event in await tx.rows(
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
        """Commit `data_sent` of some attempts, the outcomes of others, and their outbox row.

        Returns which steps were applied, and the id of the row. If a step was not applied, the
        attempt is no longer ours: its end of data must not be sent, nor its result published.
        """
        places = _ordered(steps)
        params = _step_params([steps[place] for place in places]) | {"sweep_after_s": sweep_after_s}
        applied = [False] * len(steps)
        outbox_row: int | None = None
        for place, row in await database.execute_autocommit(COMMIT, params):
            if row is None:
                applied[places[place - 1]] = True
            else:
                outbox_row = row
        return applied, outbox_row

    async def finish(
        self, tx: Transaction, attempts: Sequence[FinishedAttempt]
    ) -> list[FinishedAttempt]:
        """Finish attempts; returns those that were still open under the epoch of their claim."""
        ordered = [attempts[place] for place in _ordered(attempts)]
        return [ordered[place - 1] for place, _ in await tx.rows(STEP, _step_params(ordered))]

    async def find(
        self, tx: Transaction, keys: Sequence[AttemptKey]
    ) -> list[service.AttemptRecord]:
        """The records of attempts; unknown attempts are left out."""
        params = ([key.message_id for key in keys], [key.attempt for key in keys])
        return [_attempt_record(*row) for row in await tx.rows(FIND_ATTEMPTS, params)]


def outcome_name(event: DeliveryAttempted) -> str:
    """delivered, permanent, temporary, stale or ambiguous."""
    return OUTCOME_NAMES[event.outcome]


def _ordered(steps: Sequence[AttemptClaim | FinishedAttempt]) -> list[int]:
    """The indexes of the steps in the order of their keys, in which every writer locks rows."""
    return sorted(range(len(steps)), key=lambda place: steps[place].key)


def _step_params(steps: Sequence[AttemptClaim | FinishedAttempt]) -> dict[str, Any]:
    """The parameters of STEP: arrays without NULLs, which are faster to encode."""
    finished = [one if isinstance(one, FinishedAttempt) else None for one in steps]
    claims = [one.claim if isinstance(one, FinishedAttempt) else one for one in steps]
    ids = [one.key.message_id for one in claims]
    return {
        "ids": ids,
        "first_day": first_day_bound(ids),
        "attempts": [one.key.attempt for one in claims],
        "epochs": [one.epoch for one in claims],
        "resumed": [one.resumed for one in claims],
        "outcomes": [outcome_name(one.event) if one else "" for one in finished],
        "events": [one.record.value if one else b"" for one in finished],
        "records": [_encode_batch(one.record) if one else b"" for one in finished],
    }


def _encode_batch(record: Outgoing) -> bytes:
    """An OutgoingBatch of one record."""
    return OutgoingBatch(records=[record]).SerializeToString()


def _attempt_record(  # noqa: PLR0917 - the columns of FIND_ATTEMPTS
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
    elif stage == "done":  # begun too late: the row has no event
        at_ms = int(started_at.timestamp() * 1000)
        late = DeliveryAssigned.FromString(assignment)
        record.attempted.CopyFrom(attempted_event(late, STALE, at_ms=at_ms))
    return record
