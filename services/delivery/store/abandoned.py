"""Attempts that are open and nobody's: of workers that are gone, and orphans of our own."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from contracts.router.v1.events_pb2 import DeliveryAssigned
from kernel.database import Row, Transaction
from services.delivery.domain.started import Key
from services.delivery.store.journal import Dead, Held

ROWS_MAX = 500

# A worker that renews at this moment wins: its row is looked at again after its commit.
BURY = """
UPDATE delivery.workers SET dead = true WHERE NOT dead AND expires_at < now() AND epoch <> %s
"""

# An array, so that the dead are looked up once and not for each attempt that is open.
OF_THE_DEAD = """
SELECT a.message_id, a.attempt, a.epoch, a.stage, a.assignment,
    extract(epoch FROM a.not_after - now())::float8
FROM delivery.attempts a
WHERE a.outcome IS NULL AND a.epoch = ANY (ARRAY(SELECT epoch FROM delivery.workers WHERE dead))
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
    (SELECT epoch FROM delivery.workers WHERE epoch = %s AND NOT dead FOR SHARE) AS me
WHERE a.message_id = g.message_id AND a.attempt = g.attempt
    AND a.stage = 'started' AND a.outcome IS NULL
"""

FORGET = """
DELETE FROM delivery.workers w WHERE dead AND NOT EXISTS
    (SELECT FROM delivery.attempts a WHERE a.epoch = w.epoch AND a.outcome IS NULL)
"""


@dataclass(frozen=True, slots=True)
class Abandoned:
    """An open row, locked. held: under whose epoch. left_s: until not_after."""

    held: Held
    stage: str
    assignment: DeliveryAssigned
    left_s: float


class Graveyard:
    """Bound to a transaction by each call."""

    async def bury(self, tx: Transaction, *, but: int) -> int:
        """Workers that have not renewed are dead from here on, and write nothing any more.

        but: who asks is alive.
        """
        return await tx.execute(BURY, (but,))

    async def of_the_dead(self, tx: Transaction) -> list[Abandoned]:
        """Up to ROWS_MAX of their open rows, locked; those of another's look are left out."""
        return _abandoned(await tx.rows(OF_THE_DEAD, (ROWS_MAX,)))

    async def overdue(self, tx: Transaction, *, epoch: int, after_s: float) -> list[Key]:
        """Our own open rows, so long past their not_after."""
        rows = await tx.rows(OVERDUE, (epoch, after_s))
        return [Key(str(message_id), attempt) for message_id, attempt in rows]

    async def lock(self, tx: Transaction, keys: Sequence[Key], *, epoch: int) -> list[Abandoned]:
        ordered = sorted(keys)
        params = ([key.message_id for key in ordered], [key.attempt for key in ordered], epoch)
        return _abandoned(await tx.rows(BY_KEY, params))

    async def take_over(self, tx: Transaction, keys: Sequence[Key], *, epoch: int) -> None:
        """Make locked rows ours. Raises Dead when we are dead ourselves."""
        params = ([key.message_id for key in keys], [key.attempt for key in keys], epoch)
        if await tx.execute(TAKE_OVER, params) < len(keys):
            raise Dead

    async def forget(self, tx: Transaction) -> None:
        """The dead that left nothing open."""
        await tx.execute(FORGET)


def _abandoned(rows: Iterable[Row]) -> list[Abandoned]:
    return [
        Abandoned(
            Held(Key(str(message_id), attempt), epoch),
            stage,
            DeliveryAssigned.FromString(assignment),
            left_s,
        )
        for message_id, attempt, epoch, stage, assignment, left_s in rows
    ]
