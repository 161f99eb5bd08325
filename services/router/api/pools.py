"""Egress pools, as operators change them. The outbox publishes the records that have changed."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from google.protobuf.message import Message

from contracts.router.v1.directory_pb2 import Pool
from contracts.router.v1.policies_pb2 import PolicyCommand, WarmupCommand
from kernel import clock
from kernel.database import Database, Transaction
from kernel.ids import uuid7_text
from kernel.outbox import Outbox
from kernel.topics import encode
from services.router.domain.message import CELL
from services.router.store import cells, commands, directory

SPARE_POOL = "spare"  # whose sources no tenant uses yet


class PoolConflict(ValueError):
    """What exists does not permit the change."""


@dataclass(frozen=True, slots=True)
class PoolAdmin:
    """Raises ValueError with the reason why a change does not apply. ramps: the names of those of
    warmups."""

    database: Database
    outbox: Outbox
    ramps: Collection[str]

    async def list_all(self) -> list[Pool]:
        async with self.database.transaction() as tx:
            return [pool for pool in await directory.load_pools(tx) if not pool.deleted]

    async def add(
        self, name: str, *, dedicated: int = 0, ramp: str = "", used: Collection[str] = ()
    ) -> Pool:
        """dedicated: the number of free sources of the spare pool that the new one gets. A pool of
        this name without a tenant, which an attempt that was cut off has left, is used again. ramp:
        of the warmup of these sources; empty: they are warm. used: the ids of pools with tenants.
        """
        if not name.strip():
            raise ValueError("A pool must have a name.")
        async with self.database.transaction() as tx:
            pools = await directory.load_pools(tx, lock=True)
            left = [
                one for one in pools if dedicated and one.name == name and one.pool_id not in used
            ]
            # Sources do not change their cell.
            cell = next((one.cell for one in pools if dedicated and one.name == SPARE_POOL), CELL)
            pool = left[0] if left else Pool(pool_id=uuid7_text(), version=1, name=name, cell=cell)
            if pool.deleted or not (left or await directory.add_pool(tx, pool)):
                raise PoolConflict(f"There is a pool {name} already.")
            await self._publish(tx, pool)
            if dedicated:
                await self._move_sources(tx, pool, count=dedicated, ramp=ramp)
        return pool

    async def _move_sources(self, tx: Transaction, pool: Pool, *, count: int, ramp: str) -> None:
        sources = [one for one in await directory.load_all_sources(tx) if not one.deleted]
        count -= sum(one.pool_id == pool.pool_id for one in sources)
        moved = await directory.move_to_pool(tx, SPARE_POOL, pool.pool_id, limit=max(count, 0))
        if len(moved) < count:
            raise PoolConflict(
                f"The pool {SPARE_POOL} has {len(moved)} of the {count} free egress sources that"
                " are needed. Add some to it."
            )
        for source in moved:
            await self._publish(tx, source)
            if ramp:
                await start_warmup(tx, source.egress_id, ramp, ramps=self.ramps)

    async def remove(self, pool_id: str) -> Pool:
        async with self.database.transaction() as tx:
            pools = await directory.load_pools(tx, lock=True)
            found = find_pool(pools, pool_id)
            if users := [one.name for one in pools if one.overflow_pool_id == found.pool_id]:
                raise PoolConflict(
                    f"Pool {users[0]} overflows to {found.name}. Change its overflow first."
                )
            removed = await directory.remove_pool(tx, found.pool_id)
            if removed is None:
                raise PoolConflict(f"Pool {found.name} has egress sources. Remove them first.")
            await self._publish(tx, removed)
        return removed

    async def change(
        self,
        pool_id: str,
        *,
        overflow_id: str | None = None,
        feedback_domain_id: str | None = None,
        cell: str | None = None,
    ) -> Pool:
        """None: it stays as it is; empty: none. cell: that it moves to."""
        async with self.database.transaction() as tx:
            pools = await directory.load_pools(tx, lock=True)
            found = find_pool(pools, pool_id)
            if overflow_id:
                overflow = find_pool(pools, overflow_id)
                overflow_id = overflow.pool_id
                check_same_cell(found, overflow)
            if found.pool_id in overflow_chain(pools, overflow_id or ""):
                raise PoolConflict(
                    f"Mail of {found.name} would overflow to {found.name} itself. Choose a pool"
                    " that does not overflow to it."
                )
            changed = await directory.change_pool(
                tx,
                found.pool_id,
                overflow_pool_id=overflow_id,
                feedback_domain_id=feedback_domain_id,
            )
            await self._publish(tx, changed)
            if cell is not None:
                for one in await start_move(tx, found, cell):
                    await self._publish(tx, one)
                    changed = one if one.pool_id == found.pool_id else changed
        return changed

    async def _publish(self, tx: Transaction, record: Message) -> None:
        """Left to the sweep of the outbox: it is not urgent."""
        self.outbox.leave_to_sweep(await self.outbox.add(tx, [encode(record, clock.now())]))


async def start_warmup(
    tx: Transaction, egress_id: str, ramp: str, *, ramps: Collection[str]
) -> None:
    """Raises ValueError for an unknown ramp."""
    if ramp not in ramps:
        raise ValueError(f"There is no ramp {ramp!r}. Use {', '.join(ramps)}.")
    command = WarmupCommand(egress_id=egress_id, action="start", ramp=ramp)
    await commands.give(tx, PolicyCommand(warmup=command))


def check_same_cell(pool: Pool, overflow: Pool) -> None:
    """Raises PoolConflict."""
    if (pool.cell, pool.moves_to) != (overflow.cell, overflow.moves_to):
        raise PoolConflict(
            f"The pool {overflow.name} is in another cell than {pool.name}, or one of them moves."
            " Move one of them first: see `obm pool list`."
        )


async def start_move(tx: Transaction, pool: Pool, target: str) -> list[Pool]:
    """Mark a pool, and those that mail overflows to or from, to move to a cell. Returns them."""
    if target not in await cells.read_names(tx):
        raise ValueError(f"There is no cell {target}. See `obm cell list`.")
    pools = await directory.load_pools(tx)
    return await cells.start_move(tx, linked_pools(pools, pool.pool_id), target)


def linked_pools(pools: Sequence[Pool], pool_id: str) -> list[str]:
    """The pool, and all that overflow connects with it."""
    found, before = {pool_id}, 0
    while len(found) > before:
        before = len(found)
        for one in pools:
            if one.overflow_pool_id and found & {one.pool_id, one.overflow_pool_id}:
                found |= {one.pool_id, one.overflow_pool_id}
    return sorted(found)


def find_pool(pools: Sequence[Pool], name: str) -> Pool:
    """name: or id. Raises ValueError."""
    for pool in pools:
        if name in (pool.pool_id, pool.name) and not pool.deleted:
            return pool
    raise ValueError(f"There is no pool {name}. See `obm pool list`.")


def overflow_chain(pools: Sequence[Pool], pool_id: str) -> list[str]:
    """The pool, the one it overflows to, and so on. Mail takes one step of it only."""
    next_ids = {pool.pool_id: pool.overflow_pool_id for pool in pools}
    chain: list[str] = []
    while pool_id and pool_id not in chain:
        chain.append(pool_id)
        pool_id = next_ids[pool_id]
    return chain
