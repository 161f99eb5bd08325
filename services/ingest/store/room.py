"""Whether there is room for more mail: in the outbox, while Kafka is away, on the disk, and of what
one tenant may have stored."""

from contextlib import suppress

from kernel.content import Body, ContentStore
from kernel.errors import Unavailable
from kernel.outbox import Outbox
from services.ingest.domain.problem import storage_full, unavailable
from services.ingest.store.stored import Stored

BROKER = "too much mail waits for the broker"
DISK = "the disk of the content store is nearly full"


class Room:
    """refusal: why the door answers 503 just now; empty: there is room.

    messages_max, age_max_s: of what waits for the broker. free_min: share of the content store's
    disk that stays free, so that there is room for what was accepted before.
    """

    def __init__(
        self,
        outbox: Outbox,
        content: ContentStore,
        stored: Stored,
        *,
        messages_max: int,
        age_max_s: float,
        free_min: float,
    ) -> None:
        self._outbox = outbox
        self._content = content
        self._stored = stored
        self._messages_max = messages_max
        self._age_max_s = age_max_s
        self._free_min = free_min
        self.refusal = ""

    def check(self, tenant_id: str) -> None:
        """Raises Problem: 503 for everybody, 429 for a tenant that has too much stored."""
        if self.refusal:
            raise unavailable(f"{self.refusal}: nothing was accepted")
        if self._stored.is_full(tenant_id):
            raise storage_full()

    def took(self, tenant_id: str, body: Body) -> None:
        """A body has been accepted."""
        self._stored.add(tenant_id, body)

    async def settle(self) -> None:
        """Once nothing more is accepted."""
        with suppress(Unavailable):
            await self._stored.look()

    async def look(self) -> None:
        """What a pump does: no request waits for this."""
        await self._stored.look()
        messages, age_s = await self._outbox.backlog()
        if messages >= self._messages_max or age_s >= self._age_max_s:
            self.refusal = BROKER
        elif await self._content.free_share() < self._free_min:
            self.refusal = DISK
        else:
            self.refusal = ""
