"""Notify the scheduler of a cell: in this process by a call, in another process by NOTIFY."""

import asyncio
import logging
from collections.abc import Iterable, Sequence
from typing import Protocol

import psycopg
from psycopg import sql

from kernel.database import SESSION, Transaction, psycopg_url
from services.router.domain.cells import CellDirectory

RESULTS = "results"  # a payload; any other means work
RECONNECT_AFTER_S = 1.0
CELLS_CHECK_S = 2.0  # there may be a new one to listen to

logger = logging.getLogger(__name__)


class CellLoops(Protocol):
    """What this process runs of a cell. is_leader: it owns the cell. on_work is called when queues
    have work, on_unresolved when messages wait for DNS, on_results when attempts have results."""

    @property
    def is_leader(self) -> bool: ...

    def on_work(self) -> None: ...

    def on_unresolved(self) -> None: ...

    def on_results(self) -> None: ...


class SchedulerNotifier:
    """NOTIFY takes a server-wide lock at commit, so it is used only between processes.

    directory: which cell serves a tenant. `loops`: by cell.
    """

    def __init__(self, url: str, directory: CellDirectory) -> None:
        self.directory = directory
        self.loops: dict[str, CellLoops] = {}
        self._url = psycopg_url(url)

    def cells_of(self, tenant_ids: Iterable[str]) -> set[str]:
        return set(map(self.directory.cell_of, tenant_ids))

    async def notify(
        self, tx: Transaction, cells: Iterable[str], *, unresolved: bool = False
    ) -> None:
        """Notify the schedulers when this transaction commits. unresolved: messages wait for
        DNS."""
        for cell in cells:
            if (loops := self.loops.get(cell)) and loops.is_leader:
                tx.after_commit(loops.on_work)
                if unresolved:
                    tx.after_commit(loops.on_unresolved)
            else:
                await tx.rows("SELECT pg_notify(%s, '')", (channel_of(cell),))

    async def notify_results(self, tx: Transaction, cells: Iterable[str]) -> None:
        """Like notify: capacity may be free when this transaction commits."""
        for cell in cells:
            if (loops := self.loops.get(cell)) and loops.is_leader:
                tx.after_commit(loops.on_results)
            else:
                await tx.rows("SELECT pg_notify(%s, %s)", (channel_of(cell), RESULTS))

    async def run(self) -> None:
        """Listen to the other processes. An idle tick finds the work of lost notifications."""
        while True:
            try:
                await self._listen()
            except psycopg.Error as error:
                logger.debug("router.listen.failed: %r", error)
            await asyncio.sleep(RECONNECT_AFTER_S)

    async def _listen(self) -> None:
        options = f"-c timezone={SESSION['timezone']}"
        connection = await psycopg.AsyncConnection.connect(
            self._url, autocommit=True, connect_timeout=5, options=options
        )
        async with connection:
            known: Sequence[str] = ()
            while True:
                for cell in set(self.directory.names) - set(known):
                    await connection.execute(
                        sql.SQL("LISTEN {}").format(sql.Identifier(channel_of(cell)))
                    )
                    self._wake(cell)
                known = self.directory.names
                async for notification in connection.notifies(timeout=CELLS_CHECK_S):
                    self._wake(notification.channel.removeprefix(PREFIX), notification.payload)

    def _wake(self, cell: str, payload: str = "") -> None:
        if not ((loops := self.loops.get(cell)) and loops.is_leader):
            return
        if payload == RESULTS:
            loops.on_results()
        else:
            loops.on_work()
            loops.on_unresolved()


PREFIX = "router_"


def channel_of(cell: str) -> str:
    return f"{PREFIX}{cell}"
