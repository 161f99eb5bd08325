"""How much room the outbox has: without Kafka, mail is accepted for as long as it lasts."""

from kernel.outbox import Outbox


class OutboxRoom:
    """full: 1 M events or an hour wait for the broker; then the door answers 503."""

    def __init__(self, outbox: Outbox, *, messages_max: int, age_max_s: float) -> None:
        self._outbox = outbox
        self._messages_max = messages_max
        self._age_max_s = age_max_s
        self.full = False

    async def look(self) -> None:
        messages, age_s = await self._outbox.backlog()
        self.full = messages >= self._messages_max or age_s >= self._age_max_s
