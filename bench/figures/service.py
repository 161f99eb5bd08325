"""CPU time of the service as it runs: its process reads the events of messages from Kafka."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

from bench.cpu import tree_seconds
from bench.figures.lives import BATCH, Life, parts_of
from bench.figures.readings import TAIL_BATCH, TAIL_PAUSE_S
from bench.servers import Servers
from cli.environment import Ports, environment
from cli.processes import Process
from contracts.kernel.v1.outbox_pb2 import Outgoing
from kernel import clock
from kernel.database import Database
from kernel.health import DependencyHealth
from kernel.kafka import Kafka
from kernel.topics import encode
from services.events.domain.log_event import EventKind

POLL_S = 0.2
LOGGED = f"""
SELECT count(*) FROM events.log WHERE kind = {int(EventKind.CLOSED)}
    AND subject_id = ANY(%s::uuid[])
"""
UNFOLDED = "SELECT count(*) FROM events.stats_deltas"


async def service_ms(
    started: Servers, lives: Sequence[Life], *, folder: Path, system: Database
) -> float:
    """CPU milliseconds of the service per message at 300 messages a second, from the first event
    until all are logged and folded."""
    settings = environment(
        folder,
        kafka_bootstrap_servers=started.bootstrap_servers,
        database_url=started.database_url,
        ports=Ports.find_free(),
    )
    process = Process("events", settings, folder / "events.log")
    process.start()
    try:
        await asyncio.to_thread(process.await_ready)
        before = tree_seconds(process.pid)
        await publish(started.bootstrap_servers, lives)
        ids = [str(life.ids["message_id"]) for life in lives]
        while await count(system, LOGGED, ids) < len(ids) or await count(system, UNFOLDED):
            await asyncio.sleep(POLL_S)
        return (tree_seconds(process.pid) - before) * 1000 / len(lives)
    finally:
        await asyncio.to_thread(process.terminate)


async def publish(bootstrap_servers: str, lives: Sequence[Life]) -> None:
    kafka = Kafka(bootstrap_servers, DependencyHealth())
    kafka.declare(*{type(event) for part in parts_of(lives[:BATCH]) for event in part})
    try:
        await kafka.create_topics()
        for first in range(0, len(lives), TAIL_BATCH):
            for part in records(lives[first : first + TAIL_BATCH]):
                await kafka.publish(part)
            await asyncio.sleep(TAIL_PAUSE_S)
    finally:
        await kafka.close()


def records(lives: Sequence[Life]) -> Iterator[list[Outgoing]]:
    for part in parts_of(lives):
        yield [encode(event, clock.now()) for event in part]


async def count(system: Database, query: str, *parameters: object) -> int:
    async with system.transaction() as tx:
        [(number,)] = await tx.rows(query, parameters)
    return int(number)
