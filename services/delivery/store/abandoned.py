"""Open attempts without a worker: those of expired workers, and orphans of this one."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from contracts.router.v1.events_pb2 import DeliveryAssigned
from kernel.database import Row, Transaction
from services.delivery.domain.owned_attempt import AttemptKey
from services.delivery.store.journal import AttemptClaim, EpochExpired

ROWS_MAX = 500

# A worker that renews at this moment wins: its row is looked at again after its commit.
EXPIRE_WORKERS = """
UPDATE delivery.workers SET expired = true WHERE NOT expired AND expires_at < now() AND epoch <> %s
"""

# An array, so that the expired are looked up once and not for each attempt that is open.
OF_EXPIRED_WORKERS = """
SELECT a.message_id, a.attempt, a.epoch, a.stage, a.assignment,
    extract(epoch FROM a.not_after - now())::float8
FROM delivery.attempts a
WHERE a.outcome IS NULL AND a.epoch = ANY (ARRAY(SELECT epoch FROM delivery.workers WHERE expired))
LIMIT %s FOR UPDATE SKIP LOCKED
"""

OVERDUE = """
SELECT message_id, attempt FROM delivery.attempts
WHERE outcome IS NULL AND epoch = %s AND not_after < now() - make_interval(secs => %s)
"""

BY_KEY = """
SELECT a.message_id, a.attempt, a.epoch, a.stage, a.assignment, 0::float8
FROM delivery.attempts a
JOIN unnest(%s::uuid[], %s::int[]) AS g (message_id, attempt) USING (message_id, attempt)
WHERE a.outcome IS NULL AND a.epoch = %s FOR UPDATE OF a
"""

TAKE_OVER = """
UPDATE delivery.attempts a SET epoch = me.epoch
FROM unnest(%s::uuid[], %s::int[]) AS g (message_id, attempt),
    (SELECT epoch FROM delivery.workers WHERE epoch = %s AND NOT expired FOR SHARE) AS me
WHERE a.message_id = g.message_id AND a.attempt = g.attempt
    AND a.stage = 'started' AND a.outcome IS NULL
"""

DELETE_EXPIRED_WORKERS = """
DELETE FROM delivery.workers w WHERE expired AND NOT EXISTS
    (SELECT FROM delivery.attempts a WHERE a.epoch = w.epoch AND a.outcome IS NULL)
"""


@dataclass(frozen=True, slots=True)
class AbandonedAttempt:
    """An open row, locked. claim: under whose epoch. left_s: until not_after."""

    claim: AttemptClaim
    stage: str
    assignment: DeliveryAssigned
    left_s: float


class AbandonedAttempts:
    """Bound to a transaction by each call."""

    async def expire_workers(self, tx: Transaction, *, but: int) -> int:
        """Workers that have not renewed are expired from here on, and write nothing any more.

        but: who asks is alive.
        """
        return await tx.execute(EXPIRE_WORKERS, (but,))

    async def of_expired_workers(self, tx: Transaction) -> list[AbandonedAttempt]:
        """Up to ROWS_MAX of their open rows, locked; those of another's look are left out."""
        return _from_rows(await tx.rows(OF_EXPIRED_WORKERS, (ROWS_MAX,)))

    async def overdue(self, tx: Transaction, *, epoch: int, after_s: float) -> list[AttemptKey]:
        """Our own open rows, so long past their not_after."""
        rows = await tx.rows(OVERDUE, (epoch, after_s))
        return [AttemptKey(str(message_id), attempt) for message_id, attempt in rows]

    async def lock(
        self, tx: Transaction, keys: Sequence[AttemptKey], *, epoch: int
    ) -> list[AbandonedAttempt]:
        ordered = sorted(keys)
        params = ([key.message_id for key in ordered], [key.attempt for key in ordered], epoch)
        return _from_rows(await tx.rows(BY_KEY, params))

    async def take_over(self, tx: Transaction, keys: Sequence[AttemptKey], *, epoch: int) -> None:
        """Make locked rows ours. Raises EpochExpired when we are expired ourselves."""
        params = ([key.message_id for key in keys], [key.attempt for key in keys], epoch)
        if await tx.execute(TAKE_OVER, params) < len(keys):
            raise EpochExpired

    async def delete_expired_workers(self, tx: Transaction) -> None:
        """The expired that left nothing open."""
        await tx.execute(DELETE_EXPIRED_WORKERS)


def _from_rows(rows: Iterable[Row]) -> list[AbandonedAttempt]:
    return [
        AbandonedAttempt(
            AttemptClaim(AttemptKey(str(message_id), attempt), epoch),
            stage,
            DeliveryAssigned.FromString(assignment),
            left_s,
        )
        for message_id, attempt, epoch, stage, assignment, left_s in rows
    ]
