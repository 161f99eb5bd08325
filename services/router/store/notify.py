"""Notify the scheduler of the cell: in this process by a call, in another process by NOTIFY."""

import asyncio
import logging
from collections.abc import Callable

import psycopg

from kernel.database import SESSION, Transaction, psycopg_url
from services.router.domain.message import CELL

CHANNEL = f"router_{CELL}"
RESULTS = "results"  # a payload; any other means work
RECONNECT_AFTER_S = 1.0

logger = logging.getLogger(__name__)


class SchedulerNotifier:
    """is_leader: True if this process runs the scheduler. on_work is called after the commit when
    queues have work, on_unresolved when messages wait for DNS, on_results when attempts have
    results.

    NOTIFY takes a server-wide lock at commit, so it is used only between processes.
    """

    def __init__(
        self,
        url: str,
        *,
        is_leader: Callable[[], bool],
        on_work: Callable[[], None],
        on_unresolved: Callable[[], None],
        on_results: Callable[[], None],
    ) -> None:
        self._url = psycopg_url(url)
        self._is_leader = is_leader
        self._on_work = on_work
        self._on_unresolved = on_unresolved
        self._on_results = on_results

    async def notify(self, tx: Transaction, *, unresolved: bool = False) -> None:
        """Notify the scheduler when this transaction commits. unresolved: messages wait for DNS."""
        if self._is_leader():
            tx.after_commit(self._on_work)
            if unresolved:
                tx.after_commit(self._on_unresolved)
        else:
            await tx.rows("SELECT pg_notify(%s, '')", (CHANNEL,))

    async def notify_results(self, tx: Transaction) -> None:
        """Like notify: capacity may be free when this transaction commits."""
        if self._is_leader():
            tx.after_commit(self._on_results)
        else:
            await tx.rows("SELECT pg_notify(%s, %s)", (CHANNEL, RESULTS))

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
            await connection.execute(f"LISTEN {CHANNEL}")
            self._wake_all()
            async for notification in connection.notifies():
                if notification.payload == RESULTS:
                    self._on_results()
                else:
                    self._wake_all()

    def _wake_all(self) -> None:
        self._on_work()
        self._on_unresolved()
