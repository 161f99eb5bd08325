"""How many processes of a service are alive, so that each takes its share of a limit of all."""

import asyncio
import logging
from contextlib import suppress
from uuid import uuid4

from kernel.database import Database
from kernel.errors import Unavailable

BEAT_S = 1.0
# A process that was killed, or is paused for longer, counts for this time: the others' shares are
# too small then, and not too large.
ALIVE_S = 5.0
PREFIX = "replica "

logger = logging.getLogger(__name__)


class ReplicaCounter:
    """Each process has a row in the leases table of its service, which it renews.

    count: at the last beat, with this process; it stays while the database is away. A change is
    known everywhere after a beat, the death of a process after alive_s more.
    """

    def __init__(
        self, database: Database, schema: str, *, beat_s: float = BEAT_S, alive_s: float = ALIVE_S
    ) -> None:
        self.count = 1
        self.name = f"{PREFIX}{uuid4()}"
        self._database = database
        self._table = f"{schema}.leases"
        self._beat_s = beat_s
        self._alive_s = alive_s
        self._has_joined = False  # or it tried to

    def share_of(self, limit: int) -> int:
        """This process' share of a limit that can be divided; at least one."""
        return max(1, limit // self.count)

    async def run(self) -> None:
        """A loop."""
        while True:
            with suppress(Unavailable):
                await self.beat()
            await asyncio.sleep(self._beat_s)

    async def beat(self) -> None:
        """Renew the own row, and count. Raises Unavailable."""
        self._has_joined = True
        async with self._database.transaction() as tx:
            [(others,)] = await tx.rows(
                f"WITH own AS (INSERT INTO {self._table} (name, owner, fence, expires_at)"  # noqa: S608
                " VALUES (%(name)s, %(name)s, 0, now() + make_interval(secs => %(alive_s)s))"
                " ON CONFLICT (name) DO UPDATE SET expires_at = excluded.expires_at)"
                f" SELECT count(*) FROM {self._table}"
                " WHERE name LIKE %(any)s AND name <> %(name)s AND expires_at > now()",
                {"name": self.name, "alive_s": self._alive_s, "any": f"{PREFIX}%"},
            )
        if others + 1 != self.count:
            logger.info("replicas.changed", extra={"table": self._table, "count": others + 1})
        self.count = others + 1

    async def leave(self) -> None:
        """Remove the own row, and those of processes that died long ago. Before its first beat a
        process does not wait for a database that may be away."""
        if not self._has_joined:
            return
        with suppress(Unavailable):
            async with self._database.transaction() as tx:
                await tx.execute(
                    f"DELETE FROM {self._table} WHERE name = %(name)s"  # noqa: S608
                    " OR name LIKE %(any)s AND expires_at < now() - interval '1 hour'",
                    {"name": self.name, "any": f"{PREFIX}%"},
                )
