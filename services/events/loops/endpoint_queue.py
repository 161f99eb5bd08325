"""A queue of attempts for one endpoint in this process, with limited concurrency."""

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Sequence

from kernel import clock
from services.events.domain.webhook_attempt import WebhookAttempt

QUEUE_MAX = 500

logger = logging.getLogger(__name__)


class EndpointQueue:
    """Each endpoint has its own queue, so that a slow one does not delay others.

    concurrency: the current maximum, at least one. attempt: makes an attempt; it returns False when
    no more should follow for now. Then release frees the claims of the queued attempts. An attempt
    whose lease is nearly over is dropped; its delivery is claimed again later.
    """

    def __init__(
        self,
        attempt: Callable[[WebhookAttempt], Awaitable[bool]],
        release: Callable[[Sequence[WebhookAttempt]], Awaitable[None]],
        *,
        concurrency: Callable[[], int],
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
        for _ in range(min(len(self._queued), self._concurrency() - len(self._running))):
            task = asyncio.create_task(self._run())
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _run(self) -> None:
        while self._queued:
            if len(self._running) > self._concurrency():  # it has become less
                self._running.discard(asyncio.current_task())
                return
            deadline_s, attempt = self._queued.popleft()
            if clock.monotonic_s() >= deadline_s:
                continue
            try:
                can_continue = await self._attempt(attempt)
            except asyncio.CancelledError:  # there is no result
                await self._release([attempt])
                raise
            except Exception:  # its lease expires, and it is claimed again
                logger.exception("webhook.attempt.crashed", extra={"id": attempt.id})
                continue
            if not can_continue:
                await self._release_queued()

    async def _release_queued(self) -> None:
        attempts = [attempt for _, attempt in self._queued]
        self._queued.clear()
        if attempts:
            await self._release(attempts)

    async def drain(self) -> None:
        """Release the queued attempts, and wait for those in progress. If canceled, release those
        in progress as well."""
        await self._release_queued()
        await asyncio.gather(*self._running, return_exceptions=True)
