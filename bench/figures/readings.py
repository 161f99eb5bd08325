"""How long queries, searches and streams take, and whether the figures are those of a count."""

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from random import Random
from typing import Any, NamedTuple, cast
from unittest import mock

from google.protobuf.message import Message

from bench.figures.lives import DAYS, SITES, Key, Life, life_at, parts_of
from contracts.events.v1.events_service_pb2 import (
    EventFilter,
    GetMetricsRequest,
    ListEventsRequest,
    StreamEventsRequest,
)
from kernel.database import Database
from kernel.health import DependencyHealth
from kernel.retry import retry_while_unavailable
from kernel.rpc import RpcClient
from services.events.api import EventsServicer
from services.events.api.event_feed import EventFeed
from services.events.handlers import EventLogHandler

QUERIES, SEARCHES, DEADLINE_S = 300, 300, 10.0
TAIL_S, TAIL_BATCH, TAIL_PAUSE_S = 15.0, 30, 0.1  # 300 messages a second
NAMES: tuple[tuple[str, ...], ...] = (
    (), ("period",), ("period", "domain"), ("site",), ("ip",), ("period", "site"), ("tag",),
    ("recipient_domain",), ("bounce_class",),
)  # fmt: skip
COUNTED = (
    "accepted", "bytes", "sent", "delivered", "delivered_first", "bounced", "bounced_permanent",
)  # fmt: skip
DIMENSIONS = (
    "tenant", "domain", "key", "stream", "recipient_domain", "tag", "ip", "site", "bounce_class",
)  # fmt: skip
CONTEXT: Any = mock.Mock()


class Remote(NamedTuple):
    """The methods of the servicer, called by RPC."""

    client: RpcClient
    stub: Any

    async def GetMetrics(self, request: Message, _: object) -> Any:  # noqa: ANN401, N802 - as gRPC
        return await self.client.call(self.stub.GetMetrics, request, deadline_s=DEADLINE_S)

    async def ListEvents(self, request: Message, _: object) -> Any:  # noqa: ANN401, N802 - as gRPC
        return await self.client.call(self.stub.ListEvents, request, deadline_s=DEADLINE_S)


@dataclass(frozen=True, slots=True)
class Readings:
    """account_id: of all tenants. first: the first of the thirty days."""

    servicer: EventsServicer | Remote
    tenants: Sequence[str]
    account_id: str
    first: datetime

    async def query(self) -> list[float]:
        """Milliseconds of each query over thirty days, sorted; every fifth is the account's."""
        random, found = Random(2), []
        for n in range(QUERIES):
            whole = n % 5 == 0
            request = GetMetricsRequest(
                account_id=self.account_id if whole else "",
                tenant_id="" if whole else random.choice(self.tenants),
                dimensions=NAMES[n % len(NAMES)],
                by=random.choice(("event", "sent")),
                start_date=(self.first + timedelta(days=1)).isoformat(),
                timezone=random.choice(("UTC", "Europe/Berlin")),
            )
            began = time.perf_counter()
            await self.servicer.GetMetrics(request, CONTEXT)
            found.append((time.perf_counter() - began) * 1000)
        return sorted(found)

    async def search(self) -> list[float]:
        """Milliseconds of each search for a recipient, sorted; most have some mail."""
        random, found = Random(3), []
        for _ in range(SEARCHES):
            to = f"u{random.randrange(10**6)}@site{random.randrange(SITES)}.example"
            request = ListEventsRequest(
                tenant_id=random.choice(self.tenants), limit=100, filter=EventFilter(to=to)
            )
            began = time.perf_counter()
            await self.servicer.ListEvents(request, CONTEXT)
            found.append((time.perf_counter() - began) * 1000)
        return sorted(found)

    async def differences(self, wanted: Counter[Key]) -> int:
        """How many figures by each dimension and both times are not those that were counted."""
        found: Counter[Key] = Counter()
        for axis in ("event", "sent"):
            for dimension in DIMENSIONS:
                request = GetMetricsRequest(
                    account_id=self.account_id, dimensions=[dimension, "period"], by=axis,
                    metrics=COUNTED, start_date=self.first.isoformat(),
                    end_date=(self.first + timedelta(days=DAYS + 1)).isoformat(),
                )  # fmt: skip
                response = await self.servicer.GetMetrics(request, CONTEXT)
                for row in response.data:
                    value, period = row.keys
                    day = int(datetime.fromisoformat(f"{period}T00:00Z").timestamp()) // 86_400
                    for name, number in zip(COUNTED, row.values, strict=True):
                        if number:
                            found[axis, dimension, day, value, name] = int(number)
        keys = found.keys() | wanted.keys()
        return sum(found[key] != wanted[key] for key in keys)


async def tail(
    feed: EventFeed, readings: Readings, *, handler: EventLogHandler, system: Database
) -> list[float]:
    """Milliseconds from the recording of each event until a stream has it, sorted."""
    running = asyncio.create_task(feed.run())
    found: list[float] = []
    request = StreamEventsRequest(account_id=readings.account_id)

    async def read() -> None:
        async with aclosing(
            cast("Any", readings.servicer).StreamEvents(request, CONTEXT)
        ) as stream:
            async for response in stream:
                if response.HasField("event"):
                    delay_ms = time.time() * 1000 - ms_of(response.position)
                    found.append(delay_ms)

    reading = asyncio.create_task(read())
    random, until = Random(4), time.monotonic() + TAIL_S
    while time.monotonic() < until:
        now = datetime.now(UTC)
        some = [
            life_at(random, readings.tenants, account_id=readings.account_id, at=now)
            for _ in range(TAIL_BATCH)
        ]
        await handle(some, handler, system)
        await asyncio.sleep(TAIL_PAUSE_S)
    await asyncio.sleep(2)
    for task in (reading, running):
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task
    return sorted(found)


async def handle(
    lives: Sequence[Life], handler: EventLogHandler, system: Database,
    *, disturb: Callable[[int], bool] = lambda _: False,
) -> None:  # fmt: skip
    """disturb: whether a batch is rolled back at its end as by a kill, and then comes twice."""
    for n, part in enumerate(parts_of(lives)):
        once = partial(_handle, part, handler, system)
        if disturb(n):
            with suppress(KeyError):
                await _again(partial(once, fails=True))
            await _again(once)
        await _again(once)


async def _handle(
    part: Sequence[Message], handler: EventLogHandler, system: Database, *, fails: bool = False
) -> None:
    async with system.transaction() as tx:
        await handler.on_event(part, tx)
        if fails:
            raise KeyError


async def _again(action: Callable[[], Awaitable[None]]) -> None:
    """As the service would: while PostgreSQL is busy with something else."""
    await retry_while_unavailable(action, DependencyHealth())


def ms_of(event_id: str) -> int:
    """The time of a position."""
    digits = event_id.removeprefix("evt_").replace("-", "")
    return int(digits[:12], 16)
