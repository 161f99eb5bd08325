"""Limits of the outbox while Kafka is unavailable, of the disk, and of each tenant's content."""

from contextlib import suppress

from kernel import metrics
from kernel.content import ContentStore, SealedContent
from kernel.errors import Unavailable
from kernel.outbox import Outbox
from services.ingest.domain.problem import storage_full, unavailable
from services.ingest.store.content_usage import ContentUsage

BROKER = "Too many messages are waiting for Kafka; nothing was accepted."
DISK = "The disk of the content store is nearly full; nothing was accepted."


class Backpressure:
    """refusal: why requests get 503 now; empty if they are accepted.

    messages_max, age_max_s: limits of the outbox. free_min: share of the content store's disk that
    must stay free.
    """

    def __init__(
        self,
        outbox: Outbox,
        content: ContentStore,
        usage: ContentUsage,
        *,
        messages_max: int,
        age_max_s: float,
        free_min: float,
    ) -> None:
        self._outbox = outbox
        self._content = content
        self._usage = usage
        self._messages_max = messages_max
        self._age_max_s = age_max_s
        self._free_min = free_min
        self.refusal = ""

    def check(self, tenant_id: str) -> None:
        """Raises Problem: 503 for all tenants, 429 for a tenant that stores too much."""
        if self.refusal:
            raise unavailable(self.refusal)
        if self._usage.is_full(tenant_id):
            raise storage_full()

    def add_accepted(self, tenant_id: str, body: SealedContent) -> None:
        """Count a body that was accepted."""
        self._usage.add(tenant_id, body)

    async def save_counts(self) -> None:
        """Save the counts at shutdown."""
        with suppress(Unavailable):
            await self._usage.refresh()

    async def run_once(self) -> None:
        """One pass of the timer, outside of requests."""
        await self._usage.refresh()
        messages, age_s = await self._outbox.backlog()
        metrics.outbox_age.set(age_s)
        if messages >= self._messages_max or age_s >= self._age_max_s:
            self.refusal = BROKER
        elif await self._content.free_ratio() < self._free_min:
            self.refusal = DISK
        else:
            self.refusal = ""
