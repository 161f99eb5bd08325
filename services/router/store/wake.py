"""Waking the cell's owner: in this process by a call, in another by NOTIFY."""

import asyncio
import logging
from collections.abc import Callable

import psycopg

from kernel.database import SESSION, Transaction, psycopg_url
from services.router.domain.message import CELL

CHANNEL = f"router_{CELL}"
AGAIN_AFTER_S = 1.0

logger = logging.getLogger(__name__)


class Waker:
    """owns: this process is the owner. on_work, on_names: what to call then, after the commit,
    when lanes have work and when mail waits for DNS.

    NOTIFY takes a lock over the whole server at commit, so it is left to those who need it.
    """

    def __init__(
        self,
        url: str,
        *,
        owns: Callable[[], bool],
        on_work: Callable[[], None],
        on_names: Callable[[], None],
    ) -> None:
        self._url = psycopg_url(url)
        self._owns = owns
        self._on_work = on_work
        self._on_names = on_names

    async def work(self, tx: Transaction, *, names: bool = False) -> None:
        """This transaction gives the owner something to do. names: for DNS too."""
        if self._owns():
            tx.after_commit(self._on_work)
            if names:
                tx.after_commit(self._on_names)
        else:
            await tx.rows("SELECT pg_notify(%s, '')", (CHANNEL,))

    async def run(self) -> None:
        """A loop: listen to the other processes. What is missed meanwhile, the idle tick finds."""
        while True:
            try:
                await self._listen()
            except psycopg.Error as error:
                logger.debug("router.listen: %r", error)
            await asyncio.sleep(AGAIN_AFTER_S)

    async def _listen(self) -> None:
        options = f"-c timezone={SESSION['timezone']}"
        connection = await psycopg.AsyncConnection.connect(
            self._url, autocommit=True, connect_timeout=5, options=options
        )
        async with connection:
            await connection.execute(f"LISTEN {CHANNEL}")
            self._wake_all()
            async for _ in connection.notifies():
                self._wake_all()

    def _wake_all(self) -> None:
        self._on_work()
        self._on_names()
