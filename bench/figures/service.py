"""The service as it runs: its process reads events from Kafka, and answers by RPC."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

from bench.cpu import tree_seconds
from bench.figures.lives import BATCH, Life, parts_of
from bench.figures.readings import DEADLINE_S, TAIL_BATCH, TAIL_PAUSE_S, Readings, Remote
from bench.servers import Servers
from cli.environment import Ports, environment
from cli.processes import Process
from contracts.events.v1.events_service_pb2 import CreateExportRequest, ListExportsRequest
from contracts.events.v1.events_service_pb2_grpc import EventsServiceStub
from contracts.kernel.v1.outbox_pb2 import Outgoing
from kernel import clock
from kernel.database import Database
from kernel.health import DependencyHealth
from kernel.kafka import Kafka
from kernel.kafka.brokers import Brokers
from kernel.rpc import RpcClient
from kernel.topics import encode
from services.events.domain.log_event import EventKind

POLL_S = 0.2
RPC = "EVENTS_RPC_LISTEN"
LOGGED = f"""
SELECT count(*) FROM events.log WHERE kind = {int(EventKind.CLOSED)}
    AND subject_id = ANY(%s::uuid[])
"""
UNFOLDED = "SELECT count(*) FROM events.stats_deltas"


@dataclass(frozen=True, slots=True)
class RunningService:
    """A process of the service, and the servers of which it reads."""

    process: Process
    servers: Servers
    system: Database

    async def cpu_ms(self, lives: Sequence[Life]) -> float:
        """CPU milliseconds of the service per message at 300 messages a second, from the first
        event until all are logged and folded."""
        before = tree_seconds(self.process.pid)
        await publish(self.servers.brokers, lives)
        ids = [str(life.ids["message_id"]) for life in lives]
        while await count(self.system, LOGGED, ids) < len(ids) or await count(
            self.system, UNFOLDED
        ):
            await asyncio.sleep(POLL_S)
        return (tree_seconds(self.process.pid) - before) * 1000 / len(lives)

    async def beside_exports(self, readings: Readings) -> dict[str, float]:
        """p99 of the queries and searches of others, alone and while the first tenant exports all
        of its events, in milliseconds. rows: exported meanwhile."""
        address, token = (self.process.environment[one] for one in (RPC, "OBM_RPC_TOKEN"))
        client = RpcClient("events", address, token)
        try:
            stub: Any = EventsServiceStub(client.channel)
            others = Readings(
                Remote(client, stub), readings.tenants[1:], readings.account_id, readings.first
            )
            alone = [*await others.query(), *await others.search()]
            for kind, form in product(("events", "emails"), ("ndjson", "csv")):
                request = CreateExportRequest(
                    tenant_id=readings.tenants[0], account_id=readings.account_id, kind=kind,
                    format=form,
                )  # fmt: skip
                await client.call(stub.CreateExport, request, deadline_s=DEADLINE_S)
            while not (before := await exported_rows(client, stub, readings)):
                await asyncio.sleep(POLL_S)
            beside = [*await others.query(), *await others.search()]
            rows = await exported_rows(client, stub, readings) - before
        finally:
            await client.close()
        return {"alone_p99_ms": p99(alone), "beside_p99_ms": p99(beside), "rows": rows}


async def exported_rows(client: RpcClient, stub: Any, readings: Readings) -> int:  # noqa: ANN401
    listed = ListExportsRequest(account_id=readings.account_id, limit=100)
    response = await client.call(stub.ListExports, listed, deadline_s=DEADLINE_S)
    return sum(one.rows for one in response.exports)


@asynccontextmanager
async def running_service(
    servers: Servers, *, folder: Path, system: Database
) -> AsyncIterator[RunningService]:
    settings = environment(
        folder,
        kafka=servers.kafka,
        database_url=servers.database_url,
        ports=Ports.find_free(),
    )
    process = Process("events", settings, folder / "events.log")
    process.start()
    try:
        await asyncio.to_thread(process.await_ready)
        yield RunningService(process, servers, system)
    finally:
        await asyncio.to_thread(process.terminate)


def p99(values: Sequence[float]) -> float:
    return sorted(values)[-len(values) // 100]


async def publish(brokers: Brokers, lives: Sequence[Life]) -> None:
    kafka = Kafka(brokers, DependencyHealth())
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
