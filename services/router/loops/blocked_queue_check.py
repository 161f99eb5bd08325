"""Queues that are blocked by a scope which no longer applies to them."""

from kernel import clock
from kernel.database import Transaction
from kernel.errors import Fenced
from kernel.lease import Lease
from services.router.domain.cell import Cell
from services.router.domain.message import ScheduledQueue
from services.router.store import queues

INTERVAL_S = 2.0


class BlockedQueueCheck:
    """When a tenant moves to another pool, its queues may stay blocked by a scope of the old pool,
    which might never have capacity again. Blocked queues are checked page by page, in a cycle."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._after = queues.FIRST_POSITION
        self._checked_at_s = 0.0

    async def run_once(self, cell: Cell) -> bool:
        """Check a page every few seconds. True if a queue was unblocked."""
        if clock.monotonic_s() - self._checked_at_s < INTERVAL_S:
            return False
        self._checked_at_s = clock.monotonic_s()
        try:
            async with self._lease.transaction() as tx:
                return await self._unblock_page(tx, cell)
        except Fenced:
            return False

    async def _unblock_page(self, tx: Transaction, cell: Cell) -> bool:
        page = await queues.read_blocked_page(tx, self._lease.name, self._after)
        self._after = page[-1] if len(page) == queues.BLOCKED_PAGE_ROWS else queues.FIRST_POSITION
        outdated_ids = [one.queue_id for one in page if is_outdated(one, cell)]
        if outdated_ids:
            await queues.unblock_by_id(tx, outdated_ids)
        return bool(outdated_ids)


def is_outdated(position: queues.UnblockPosition, cell: Cell) -> bool:
    path = cell.scopes.path_of(ScheduledQueue.of(position.queue_id))
    return all(scope.key != position.blocked_by for scope in path)
