"""Worker registrations: each has an epoch, and may write the journal while it renews its lease."""

import asyncio

from kernel import clock
from kernel.database import Database
from kernel.errors import Unavailable

LEASE_S = 10.0


class WorkerRegistration:
    """The registration of this process; it registers again after its epoch has expired."""

    def __init__(self, database: Database, name: str, *, lease_s: float = LEASE_S) -> None:
        self._database = database
        self._name = name
        self._lease_s = lease_s
        self._epoch: int | None = None
        self._renewed_s = float("-inf")
        self._steady_since_s = 0.0
        self.registered = asyncio.Event()

    @property
    def epoch(self) -> int:
        """Raises Unavailable until the worker is registered."""
        if self._epoch is None:
            raise Unavailable("the delivery journal's registration")
        return self._epoch

    @property
    def is_steady(self) -> bool:
        """Whether this worker has renewed without a gap for the duration of a lease.

        After an outage of the database or a pause of the machine, every worker seems expired. Only
        a steady worker may expire others, and by then each of them has had time to renew. One that
        has not renewed for a lease is not steady, although nothing has told it of a gap yet.
        """
        now_s = clock.monotonic_s()
        renewed = now_s - self._renewed_s <= self._lease_s
        return renewed and now_s - self._steady_since_s >= self._lease_s

    def invalidate(self) -> None:
        """Forget an expired epoch; the next `register_or_renew` registers again."""
        self._epoch = None

    async def register_or_renew(self) -> None:
        await self._write_registration()
        now_s = clock.monotonic_s()
        if now_s - self._renewed_s > self._lease_s:
            self._steady_since_s = now_s
        self._renewed_s = now_s

    async def _write_registration(self) -> None:
        async with self._database.transaction() as tx:
            if self._epoch is not None and await tx.execute(
                "UPDATE delivery.workers SET expires_at = now() + make_interval(secs => %s)"
                " WHERE epoch = %s AND NOT expired",
                (self._lease_s, self._epoch),
            ):
                return
            [(epoch,)] = await tx.rows(
                "INSERT INTO delivery.workers (name, expires_at)"
                " VALUES (%s, now() + make_interval(secs => %s)) RETURNING epoch",
                (self._name, self._lease_s),
            )
        self._epoch = epoch
        self.registered.set()

    async def deregister(self) -> None:
        """Expire this registration at shutdown, so that another worker takes over at once."""
        epoch, self._epoch = self._epoch, None
        if epoch is not None:
            async with self._database.transaction() as tx:
                await tx.execute(
                    "UPDATE delivery.workers SET expired = true WHERE epoch = %s", (epoch,)
                )
