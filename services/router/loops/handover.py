"""Pools and tenants that leave a cell: its owner writes out what it knows of them, in the
transaction that gives them to another cell, and reads its own cell again. The owner of the other
one reads them as those of a predecessor."""

import logging
from collections.abc import Mapping, Sequence
from math import inf

from google.protobuf.message import Message

from kernel import clock
from kernel.database import Transaction
from kernel.failpoint import failpoint
from kernel.lease import Lease
from kernel.outbox import Outbox, OutboxEntry
from kernel.topics import encode
from services.router.domain.cell import Cell
from services.router.loops.received_results import ResultDivider
from services.router.loops.tenant_claims import TenantClaimer
from services.router.store import cells, policies, queues, requests, results, tenant_pools

logger = logging.getLogger(__name__)


class OutdatedCell(Exception):
    """The cell has lost or got a pool or a tenant, or other shares, since it was read."""


class HandoverDelayed(Exception):
    """A message in flight would be counted in two cells: its tenant or its source would stay."""


class CellHandover:
    """A part of what follows a tick. Raises OutdatedCell when something has left the cell."""

    def __init__(self, lease: Lease, outbox: Outbox, receiver: ResultDivider) -> None:
        self._lease = lease
        self._outbox = outbox
        self._receiver = receiver

    async def run_once(self, cell: Cell, moves: Mapping[str, Sequence[str]]) -> bool:
        """moves: pools that are to leave, by the cell that gets them. Returns False: what is left
        is no work for this cell."""
        if await self._pass_on(cell, self._receiver.claims):
            raise OutdatedCell(self._lease.name)
        for target, pool_ids in moves.items():
            if await self._move_pools(cell, pool_ids, target=target):
                raise OutdatedCell(self._lease.name)
        return False

    async def save(self, cell: Cell | None) -> bool:
        """What would be saved later, before the cell is read again. Raises OutdatedCell."""
        if cell is not None:
            async with self._lease.transaction() as tx:
                now_s = await requests.read_database_now_s(tx)
                entry = await self._save(tx, cell, [], now_s=now_s)
            self._outbox.leave_to_sweep(entry)
        raise OutdatedCell(self._lease.name)

    async def _pass_on(self, cell: Cell, claims: TenantClaimer) -> bool:
        """Let tenants go that are counted here, and give the queues of others to their cells. True
        if the cell must be read again."""
        await self._pass_on_queues(claims)
        leaving = {
            tenant_id: pool_id
            for tenant_id, pool_id in claims.leaving.items()
            if not cell.scopes.has_in_flight(tenant_id)
        }
        if not leaving:
            return False
        async with self._lease.transaction() as tx:
            now_s = await requests.read_database_now_s(tx)
            entry = await self._save(tx, cell, [], now_s=now_s)
            await tenant_pools.change(tx, leaving)
        self._outbox.leave_to_sweep(entry)
        return any(one in cell.changed for one in leaving)  # others were not read

    async def _pass_on_queues(self, claims: TenantClaimer) -> None:
        if not (claims.elsewhere or claims.requested):
            return
        async with self._lease.transaction() as tx:
            targets = await tenant_pools.pass_on_queues(tx, self._lease.name, claims.elsewhere)
            await self._receiver.notify(tx, targets | claims.requested)

    async def _move_pools(self, cell: Cell, pool_ids: Sequence[str], *, target: str) -> bool:
        """True if they have moved, and the cell must be read again. False if that must wait for
        results of messages in flight."""
        name = self._lease.name
        try:
            async with self._lease.transaction() as tx:
                now_s = await requests.read_database_now_s(tx)
                moving = await cells.lock_moving(tx, pool_ids, name, target=target)
                if not (moving and await cells.move_in_flight(tx, moving, name, target=target)):
                    raise HandoverDelayed
                await self._receiver.apply(tx, cell, await results.drain(tx, name), now_s=now_s)
                pools = await cells.finish_move(tx, moving, name, target=target)
                entry = await self._save(tx, cell, pools, now_s=now_s)
                await self._receiver.notify(tx, [target])
                failpoint("router.move.in_transaction")
        except HandoverDelayed:
            return False
        failpoint("router.move.committed")
        self._outbox.leave_to_sweep(entry)
        logger.info("router.pools_moved", extra={"pools": moving, "from": name, "to": target})
        return True

    async def _save(
        self, tx: Transaction, cell: Cell, records: Sequence[Message], *, now_s: float
    ) -> OutboxEntry:
        """All that only memory knows."""
        name = self._lease.name
        await queues.record_served(tx, name, counters=cell.counters_to_save(now_s=inf))
        changes = cell.adaptive.drain(now_s, counts_max=None)
        if changes:
            await policies.save(tx, name, changes)
        events = [*changes.published_by(name), *records]
        return await self._outbox.add(tx, [encode(one, clock.now()) for one in events])
