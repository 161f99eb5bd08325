"""What a process runs of each cell: of those that it owns, and, waiting, of all others."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from math import ceil

from kernel import clock
from kernel.database import Database
from kernel.health import DependencyHealth
from kernel.lease import Lease
from kernel.replicas import ReplicaCounter
from kernel.retry import retry_while_unavailable
from kernel.service import Loop
from kernel.tasks import supervise
from services.router.domain.cells import CellDirectory
from services.router.domain.message import CELL
from services.router.loops.route_resolution import RouteResolution
from services.router.loops.scheduler import Scheduler
from services.router.store import cells
from services.router.store.notify import SchedulerNotifier

REFRESH_S = 2.0
YIELDED_S = 4.0  # in which a process does not take back the cell that it has given up


@dataclass(frozen=True, slots=True)
class LocalCell:
    """One cell in this process. loops: run all the time, and do nothing without the lease."""

    lease: Lease
    scheduler: Scheduler
    resolution: RouteResolution
    loops: list[Loop]

    @property
    def is_leader(self) -> bool:
        return self.scheduler.is_leader

    def on_work(self) -> None:
        self.scheduler.wake()

    def on_unresolved(self) -> None:
        self.resolution.wake()

    def on_results(self) -> None:
        self.scheduler.on_results()


class LocalCells:
    """The cells of this process, by name. create: one of them.

    With several cells and processes, each process takes as many cells as it must have for all to be
    owned, and gives one up when there are more processes than before.
    """

    def __init__(
        self,
        database: Database,
        directory: CellDirectory,
        notifier: SchedulerNotifier,
        *,
        create: Callable[[str], LocalCell],
        health: DependencyHealth,
    ) -> None:
        self._database = database
        self._directory = directory
        self._notifier = notifier
        self._create = create
        self._health = health
        self._replicas = ReplicaCounter(database, "router", alive_s=2.5 * REFRESH_S)
        self._yielded_at_s: dict[str, float] = {}
        self.by_name: dict[str, LocalCell] = {}

    def add(self, name: str) -> LocalCell:
        owned = self.by_name[name] = self._notifier.loops[name] = self._create(name)
        return owned

    @property
    def schedulers(self) -> list[Scheduler]:
        return [one.scheduler for one in self.by_name.values()]

    def may_acquire(self, name: str) -> bool:
        """Whether this process should take a cell that nobody owns."""
        yielded_s = clock.monotonic_s() - self._yielded_at_s.get(name, -YIELDED_S)
        return yielded_s >= YIELDED_S and self._owned_count() < self._fair_count()

    async def run(self) -> None:
        """A loop: run the loops of each cell, and find new cells."""
        started: set[str] = set()
        async with asyncio.TaskGroup() as group:
            while True:
                for name in [one for one in self._directory.names if one not in started]:
                    started.add(name)
                    owned = self.by_name.get(name) or self.add(name)
                    for loop in owned.loops:
                        group.create_task(supervise(loop()))
                await asyncio.sleep(REFRESH_S)
                await retry_while_unavailable(self.refresh, self._health)

    async def refresh(self) -> None:
        """Read where the pools are, and share the cells with other processes."""
        directory = self._directory
        async with self._database.transaction() as tx:
            directory.names = await cells.read_names(tx) or [CELL]
            if len(directory.names) > 1:
                directory.cells = await cells.read_cells_of_pools(tx)
                directory.ehlo_names = await cells.read_ehlo_names(tx)
        if len(directory.names) > 1:
            before = self._replicas.count
            await self._replicas.beat()
            if self._replicas.count > before:
                await self._give_up_surplus()

    async def _give_up_surplus(self) -> None:
        owned = [one for one in self.by_name.values() if one.is_leader]
        for one in owned[self._fair_count() :]:
            self._yielded_at_s[one.lease.name] = clock.monotonic_s()
            await one.lease.release()

    def _owned_count(self) -> int:
        return sum(one.is_leader for one in self.by_name.values())

    def _fair_count(self) -> int:
        return ceil(len(self._directory.names) / self._replicas.count)

    async def close(self) -> None:
        for one in self.by_name.values():
            await one.lease.release()
        if len(self._directory.names) > 1:
            await self._replicas.leave()
