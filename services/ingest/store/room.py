"""Whether there is room for more mail: in the outbox, while Kafka is away, and on the disk."""

from kernel.content import ContentStore
from kernel.outbox import Outbox

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
        *,
        messages_max: int,
        age_max_s: float,
        free_min: float,
    ) -> None:
        self._outbox = outbox
        self._content = content
        self._messages_max = messages_max
        self._age_max_s = age_max_s
        self._free_min = free_min
        self.refusal = ""

    async def look(self) -> None:
        """What a pump does: no request waits for this."""
        messages, age_s = await self._outbox.backlog()
        if messages >= self._messages_max or age_s >= self._age_max_s:
            self.refusal = BROKER
        elif await self._content.free_share() < self._free_min:
            self.refusal = DISK
        else:
            self.refusal = ""
