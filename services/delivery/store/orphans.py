"""Orphans: open attempts of expired workers, and those of this one that it does not hold."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from contracts.router.v1.events_pb2 import DeliveryAssigned
from kernel.database import Row, Transaction
from services.delivery.domain.owned_attempt import AttemptKey
from services.delivery.store.journal import AttemptClaim, EpochExpired

ROWS_MAX = 500

# A worker that renews at the same time wins: PostgreSQL checks its row again after its commit.
EXPIRE_WORKERS = """
UPDATE delivery.workers SET expired = true WHERE NOT expired AND expires_at < now() AND epoch <> %s
"""

# An array, so that expired workers are looked up once, and not for each open attempt.
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
class OrphanedAttempt:
    """An open row, locked. claim: with the epoch of its worker. left_s: until not_after."""

    claim: AttemptClaim
    stage: str
    assignment: DeliveryAssigned
    left_s: float


class OrphanStore:
    """Queries for orphans; each call takes its transaction."""

    async def expire_workers(self, tx: Transaction, *, except_epoch: int) -> int:
        """Expire the workers that have not renewed in time; they can write nothing from then on.

        except_epoch: of the caller, which is alive.
        """
        return await tx.execute(EXPIRE_WORKERS, (except_epoch,))

    async def of_expired_workers(self, tx: Transaction) -> list[OrphanedAttempt]:
        """Lock up to ROWS_MAX of their open rows, and skip those that another recovery locks."""
        return _from_rows(await tx.rows(OF_EXPIRED_WORKERS, (ROWS_MAX,)))

    async def find_overdue(
        self, tx: Transaction, *, epoch: int, after_s: float
    ) -> list[AttemptKey]:
        """Open rows of this epoch that are more than after_s past their not_after."""
        rows = await tx.rows(OVERDUE, (epoch, after_s))
        return [AttemptKey(str(message_id), attempt) for message_id, attempt in rows]

    async def lock(
        self, tx: Transaction, keys: Sequence[AttemptKey], *, epoch: int
    ) -> list[OrphanedAttempt]:
        ordered = sorted(keys)
        params = ([key.message_id for key in ordered], [key.attempt for key in ordered], epoch)
        return _from_rows(await tx.rows(BY_KEY, params))

    async def take_over(self, tx: Transaction, keys: Sequence[AttemptKey], *, epoch: int) -> None:
        """Move locked rows to this epoch. Raises EpochExpired if that has expired itself."""
        params = ([key.message_id for key in keys], [key.attempt for key in keys], epoch)
        if await tx.execute(TAKE_OVER, params) < len(keys):
            raise EpochExpired

    async def delete_expired_workers(self, tx: Transaction) -> None:
        """Delete expired workers without open attempts."""
        await tx.execute(DELETE_EXPIRED_WORKERS)


def _from_rows(rows: Iterable[Row]) -> list[OrphanedAttempt]:
    return [
        OrphanedAttempt(
            AttemptClaim(AttemptKey(str(message_id), attempt), epoch),
            stage,
            DeliveryAssigned.FromString(assignment),
            left_s,
        )
        for message_id, attempt, epoch, stage, assignment, left_s in rows
    ]
