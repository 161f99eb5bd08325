"""The attempts that are queued for one endpoint in this process, with bounded concurrency."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence

from kernel import clock
from services.events.domain.webhook_attempt import WebhookAttempt

QUEUE_MAX = 500

logger = logging.getLogger(__name__)


class EndpointQueue:
    """A slow endpoint fills only its own queue.

    attempt: makes one attempt; False when no more should follow for now. release: frees the claims
    of what is queued then. An attempt that waited until its lease is nearly over is dropped: it is
    claimed again, here or elsewhere.
    """

    def __init__(
        self,
        attempt: Callable[[WebhookAttempt], Awaitable[bool]],
        release: Callable[[Sequence[WebhookAttempt]], Awaitable[None]],
        *,
        concurrency: int,
        lease_s: float,
    ) -> None:
        self._attempt = attempt
        self._release = release
        self._concurrency = concurrency
        self._usable_s = lease_s
        self._queued: deque[tuple[float, WebhookAttempt]] = deque()
        self._running: set[asyncio.Task[None]] = set()

    @property
    def capacity(self) -> int:
        return max(0, QUEUE_MAX - len(self._queued) - len(self._running))

    @property
    def is_idle(self) -> bool:
        return not self._queued and not self._running

    def enqueue(self, attempts: Iterable[WebhookAttempt]) -> None:
        deadline_s = clock.monotonic_s() + self._usable_s
        self._queued.extend((deadline_s, attempt) for attempt in attempts)
        for _ in range(min(len(self._queued), self._concurrency - len(self._running))):
            task = asyncio.create_task(self._work())
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _work(self) -> None:
        while self._queued:
            deadline_s, attempt = self._queued.popleft()
            if clock.monotonic_s() >= deadline_s:
                continue
            try:
                more = await self._attempt(attempt)
            except asyncio.CancelledError:  # no result of the endpoint
                await self._release([attempt])
                raise
            except Exception:  # its lease ends, and it is claimed again
                logger.exception("a webhook attempt failed", extra={"id": attempt.id})
                continue
            if not more:
                await self._release_queued()

    async def _release_queued(self) -> None:
        left = [attempt for _, attempt in self._queued]
        self._queued.clear()
        if left:
            await self._release(left)

    async def drain(self) -> None:
        """Release the queued attempts, and wait for those in progress; when canceled,
        release those in progress as well."""
        await self._release_queued()
        await asyncio.gather(*self._running, return_exceptions=True)
