"""Publishes the directory to Kafka, in the order of its versions."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol

from google.protobuf.message import Message

from contracts.ingest.v1.directory_pb2 import (
    Account,
    ApiKey,
    Brand,
    Domain,
    Mailbox,
    Tenant,
    TrackingHost,
)
from contracts.kernel.v1.outbox_pb2 import Outgoing
from kernel import clock
from kernel.errors import Fenced
from kernel.health import DependencyHealth
from kernel.lease import Lease
from kernel.retry import retry_while_unavailable
from kernel.topics import encode
from services.ingest.store.directory import UnpublishedEntries

KINDS: Sequence[Any] = (Brand, Account, Tenant, Domain, ApiKey, Mailbox, TrackingHost)
BATCH = 500

logger = logging.getLogger(__name__)


class RecordPublisher(Protocol):
    async def publish(self, records: Sequence[Outgoing]) -> None: ...

    async def end_offsets(self, *events: type[Message]) -> Sequence[int]: ...


class DirectoryPublisher:
    """Publishes all entries when it acquires the lease, then the changes; and all again if the
    broker has lost them."""

    def __init__(
        self,
        lease: Lease,
        unpublished: UnpublishedEntries,
        broker: RecordPublisher,
        *,
        health: DependencyHealth,
        every_s: float,
        check_every_s: float,
    ) -> None:
        self._lease = lease
        self._unpublished = unpublished
        self._broker = broker
        self._health = health
        self._every_s = every_s
        self._check_every_s = check_every_s
        self._fence: int | None = None  # of the lease under which all entries were published
        # so that the check does not mistake an entry in progress for a missing one
        self._publishing = asyncio.Lock()

    async def run(self) -> None:
        """A loop: publish the changes."""
        while True:
            await retry_while_unavailable(self._fenced(self._publish_changes), self._health)
            await asyncio.sleep(self._every_s)

    async def check(self) -> None:
        """A loop: fill a broker that was wiped."""
        while True:
            await asyncio.sleep(self._check_every_s)
            await retry_while_unavailable(self._fenced(self._republish_lost), self._health)

    def _fenced(self, action: Callable[[], Awaitable[None]]) -> Callable[[], Awaitable[None]]:
        async def attempt() -> None:
            if self._lease.fence is None:
                return
            try:
                async with self._publishing:
                    await action()
            except Fenced:
                logger.info("directory.publisher_changed")

        return attempt

    async def _publish_changes(self) -> None:
        if self._fence != self._lease.fence:
            fence = self._lease.fence
            for kind in KINDS:
                await self._publish_all(kind)
            self._fence = fence
        if not await self._unpublished.exist():
            return
        for kind in KINDS:
            while entries := await self._unpublished.next_batch(kind, BATCH):
                await self._publish(kind, entries)

    async def _republish_lost(self) -> None:
        ends = await self._broker.end_offsets(*KINDS)
        for kind in [kind for kind, end in zip(KINDS, ends, strict=True) if not end]:
            if await self._publish_all(kind):
                logger.warning("directory.republished: topic of %s was empty", kind.__name__)

    async def _publish(self, kind: Any, entries: Sequence[Any]) -> None:  # noqa: ANN401 - any kind
        now = clock.now()
        await self._broker.publish([encode(entry, now) for entry in entries])
        await self._unpublished.mark_published(kind, entries)

    async def _publish_all(self, kind: Any) -> int:  # noqa: ANN401
        """Publish all entries page by page. Returns the last version."""
        last = 0
        while entries := await self._unpublished.page(kind, after=last, count=BATCH):
            await self._publish(kind, entries)
            last = entries[-1].version
        return last
