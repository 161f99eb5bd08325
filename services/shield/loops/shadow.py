"""Scores what the live model has scored with a second one, and publishes where they differ.

The stream does not wait for it: contents go into a bounded buffer, and what finds no room is
counted and forgotten. A child of its own, with low priority, does the work.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

from contracts.ingest.v1.events_pb2 import MessageAccepted
from contracts.kernel.v1.outbox_pb2 import Outgoing
from contracts.shield.v1.events_pb2 import ShadowDiffered
from contracts.shield.v1.shield_service_pb2 import ScoreResponse
from kernel import clock, metrics
from kernel.child import ChildRaised
from kernel.health import DependencyHealth
from kernel.retry import retry_while_unavailable
from kernel.topics import encode
from services.shield.clients.screening_child import ScreeningChild
from services.shield.domain.shadow import (
    SampledContent,
    differences,
    is_sampled,
    opinion_of,
    verdicts_of,
)

BUFFER_BYTES = 32 << 20
CONTENTS_MAX = 64  # that are scored at once
DIFFERENCES_MAX = 100  # in a second; more are counted, not published

Publish = Callable[[Sequence[Outgoing]], Awaitable[None]]


class ShadowModelScorer:
    """child: with the second model. share: of the contents. What is unavailable to it alone does
    not concern the service."""

    def __init__(self, child: ScreeningChild, publish: Publish, *, share: float) -> None:
        self.child = child
        self._publish = publish
        self._health = DependencyHealth()
        self._share = share
        self._buffer: deque[SampledContent] = deque()
        self._bytes = 0
        self._awake = asyncio.Event()
        self._second, self._published = 0, 0

    @property
    def is_idle(self) -> bool:
        """Whether everything that was offered has been dealt with."""
        return not self._awake.is_set()

    def offer(
        self,
        batch: Sequence[MessageAccepted],
        requests: Mapping[str, bytes],
        screenings: Mapping[str, object],
    ) -> None:
        """What the stream has just scored, by reference of the content."""
        events: dict[str, list[MessageAccepted]] = {}
        for event in batch:
            events.setdefault(event.context.content_ref, []).append(event)
        for ref, request in requests.items():
            live = screenings[ref]
            if not isinstance(live, ScoreResponse) or not is_sampled(ref, self._share):
                continue
            if self._bytes + len(request) > BUFFER_BYTES:
                metrics.shadow_skipped.inc(len(events[ref]))
                continue
            self._bytes += len(request)
            self._buffer.append(SampledContent(tuple(events[ref]), request, opinion_of(live)))
        if self._buffer:
            self._awake.set()

    async def run(self) -> None:
        """A loop."""
        while True:
            await self._awake.wait()
            taken = [self._buffer.popleft() for _ in range(min(CONTENTS_MAX, len(self._buffer)))]
            try:
                requests = [one.request for one in taken]
                screen = partial(self.child.screen, requests)
                responses = await retry_while_unavailable(screen, self._health)
            finally:
                self._bytes -= sum(len(one.request) for one in taken)
            if found := list(self._admitted(compare(taken, responses))):
                now = clock.now()
                publish = partial(self._publish, [encode(event, now) for event in found])
                await retry_while_unavailable(publish, self._health)
            if not self._buffer:
                self._awake.clear()

    def _admitted(self, found: Iterable[ShadowDiffered]) -> Iterator[ShadowDiffered]:
        """A model that is wrong about everything must not double the traffic."""
        for event in found:
            second = int(clock.monotonic_s())
            if second != self._second:
                self._second, self._published = second, 0
            self._published += 1
            if self._published <= DIFFERENCES_MAX:
                yield event


def compare(
    taken: Sequence[SampledContent], responses: Sequence[ScoreResponse | ChildRaised]
) -> Iterator[ShadowDiffered]:
    """Counts what both models say, and gives what differs."""
    for one, shadow in zip(taken, responses, strict=True):
        if isinstance(shadow, ChildRaised):
            metrics.shadow_skipped.inc(len(one.events))
            continue
        other = opinion_of(shadow)
        verdicts = verdicts_of(one.live, other)
        metrics.shadow_screened.labels(other.model_version, *verdicts).inc(len(one.events))
        yield from differences(one.events, one.live, other)
