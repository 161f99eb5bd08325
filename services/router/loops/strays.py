"""Lanes that wait for a ring which is not theirs any more."""

from kernel import clock
from kernel.database import Transaction
from kernel.errors import Fenced
from kernel.lease import Lease
from services.router.domain.message import Lane
from services.router.domain.scopes import Scopes
from services.router.store import lanes

EVERY_S = 2.0


class Strays:
    """Their tenant moved to another pool: the ring of the old one would not wake them, and need
    never have room again. A page of parked lanes at a time, round and round."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._after = lanes.FIRST
        self._looked_s = 0.0

    async def wake(self, scopes: Scopes) -> bool:
        """Every few seconds; whether there were any."""
        if clock.monotonic_s() - self._looked_s < EVERY_S:
            return False
        self._looked_s = clock.monotonic_s()
        try:
            async with self._lease.transaction() as tx:
                return await self._wake(tx, scopes)
        except Fenced:
            return False

    async def _wake(self, tx: Transaction, scopes: Scopes) -> bool:
        page = await lanes.parked(tx, self._after)
        self._after = page[-1] if len(page) == lanes.PARKED_ROWS else lanes.FIRST
        strays = [one.lane for one in page if is_stray(one, scopes)]
        if strays:
            await lanes.unpark(tx, strays)
        return bool(strays)


def is_stray(parked: lanes.Place, scopes: Scopes) -> bool:
    return parked.ring not in scopes.rings_of(Lane.of(parked.lane))
