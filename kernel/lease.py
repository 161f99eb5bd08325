"""A lease row with a fence: one owner at a time (Kleppmann, "How to do distributed locking")."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from uuid import uuid4

import sqlalchemy as sa

from kernel.database import Database, Transaction
from kernel.errors import Fenced, Unavailable

LEASE_S = 10.0
RENEW_INTERVAL_S = 3.0
ACQUIRE_S = 1.0  # between attempts to acquire it
PUBLISH_TIMEOUT_S = 30.0

logger = logging.getLogger(__name__)


def leases_table(metadata: sa.MetaData) -> sa.Table:
    return sa.Table(
        "leases",
        metadata,
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("fence", sa.BigInteger, nullable=False),
        sa.Column("expires_at", sa.DateTime(timezone=True), nullable=False),
    )


class Lease:
    """Holds one name of a service's leases table, renews it, and fences every transaction.

    fence: increases with every change of owner; None while another process holds the lease.
    idle_s: how long nobody had held it when it was acquired, by the clock of the database.
    publish_timeout_s: an owner whose publish takes longer releases the lease until it succeeds.
    may_acquire: whether to take the lease when it is free; if it is free for longer, this process
    takes it all the same. owner: a name for the process, if it holds several leases.
    """

    def __init__(
        self,
        database: Database,
        schema: str,
        name: str,
        *,
        lease_s: float = LEASE_S,
        publish_timeout_s: float = PUBLISH_TIMEOUT_S,
        may_acquire: Callable[[], bool] = lambda: True,
        owner: str = "",
    ) -> None:
        self.name = name
        self.owner = owner or str(uuid4())
        self.fence: int | None = None
        self.idle_s = 0.0
        self._database = database
        self._table = f"{schema}.leases"
        self._lease_s = lease_s
        self._publish_timeout_s = publish_timeout_s
        self._may_acquire = may_acquire
        self._stalled_publishes = 0  # `publishing` blocks past the timeout

    async def maintain(self) -> None:
        """A loop: acquire the lease when it is free, and renew it in time."""
        renew_s = self._lease_s * RENEW_INTERVAL_S / LEASE_S
        while True:
            try:
                await (self.release() if self._stalled_publishes else self.try_acquire())
            except Unavailable as error:
                logger.warning(
                    "lease.not_renewed", extra={"lease": self.name, "unavailable": str(error)}
                )
            await asyncio.sleep(renew_s if self.fence is not None else min(renew_s, ACQUIRE_S))

    async def try_acquire(self) -> bool:
        """Acquire or renew. A renewal keeps the fence; a change of owner increments it."""
        async with self._database.transaction() as tx:
            rows = await tx.rows(
                f"INSERT INTO {self._table} AS held (name, owner, fence, expires_at)"  # noqa: S608
                " VALUES (%(name)s, %(owner)s, 1, now() + make_interval(secs => %(s)s))"
                " ON CONFLICT (name) DO UPDATE SET owner = excluded.owner,"
                " expires_at = excluded.expires_at, fence = held.fence"
                " + CASE WHEN held.owner = excluded.owner AND held.expires_at > now()"
                " THEN 0 ELSE 1 END"
                " WHERE held.owner = excluded.owner AND held.expires_at > now()"
                " OR held.expires_at < now() - make_interval(secs => %(grace_s)s)"
                # The subquery still sees the row as it was.
                " RETURNING fence, (SELECT greatest(0, extract(epoch FROM now() - expires_at))"
                f" FROM {self._table} WHERE name = %(name)s)::float8",
                {
                    "name": self.name,
                    "owner": self.owner,
                    "s": self._lease_s,
                    "grace_s": 0.0 if self.fence or self._may_acquire() else self._lease_s / 3,
                },
            )
        fence, idle_s = rows[0] if rows else (None, None)
        if fence != self.fence:
            self.idle_s = idle_s or 0.0
            logger.info("lease.fence.changed", extra={"lease": self.name, "fence": fence})
        self.fence = fence
        return fence is not None

    async def assert_held(self, tx: Transaction) -> None:
        """The first statement of an owner's transaction. Raises Fenced if the lease is lost."""
        held = await tx.rows(
            f"SELECT 1 FROM {self._table} WHERE name = %s AND owner = %s AND fence = %s"  # noqa: S608
            " AND expires_at > now() FOR SHARE",
            (self.name, self.owner, self.fence),
        )
        if not held:
            self.fence = None
            raise Fenced(self.name)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """A fenced transaction: a process that resumes after losing the lease writes nothing."""
        async with self._database.transaction() as tx:
            await self.assert_held(tx)
            yield tx

    @contextmanager
    def publishing(self) -> Iterator[None]:
        """Wraps an owner's publishing: after the timeout the lease goes to a replica that may
        succeed."""
        late = False

        def yield_lease() -> None:
            nonlocal late
            late = True
            self._stalled_publishes += 1
            logger.warning(
                "lease.released", extra={"lease": self.name, "reason": "publishing stalled"}
            )

        timer = asyncio.get_running_loop().call_later(self._publish_timeout_s, yield_lease)
        try:
            yield
        finally:
            timer.cancel()
            self._stalled_publishes -= late

    async def release(self) -> None:
        """Expire the lease, so that a successor can acquire it at once. Nothing is done under it
        from here on: the successor may lead before the response to this update arrives."""
        fence, self.fence = self.fence, None
        if fence is None:
            return
        with suppress(Unavailable):  # the lease then expires by itself
            async with self._database.transaction() as tx:
                await tx.execute(
                    f"UPDATE {self._table} SET expires_at = now()"  # noqa: S608
                    " WHERE name = %s AND owner = %s AND fence = %s",
                    (self.name, self.owner, fence),
                )
