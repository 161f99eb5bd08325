"""Unblock queues whose scopes have capacity again, after a tick."""

from kernel.lease import Lease
from services.router.domain.cell import Cell
from services.router.loops.tick_result import TickResult
from services.router.store import queues


async def unblock_queues(lease: Lease, cell: Cell, result: TickResult) -> bool:
    """Unblock as many queues as their scopes have capacity for, and activate those that are due.
    True if there were any. If it fails, memory no longer knows which scopes block queues.

    This takes its own transaction: one that locks queues in two statements could deadlock with a
    handler.
    """
    to_unblock = cell.queues_to_unblock(now_s=result.now_s)
    if not (to_unblock or result.has_due):
        return False
    async with lease.transaction() as tx:
        unblocked = await queues.unblock_queues(tx, lease.name, to_unblock)
    cell.record_unblocked(to_unblock, unblocked, now_s=result.now_s)
    return True
