"""Composition root: the only place where delivery is wired together."""

import asyncio
import resource
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from ipaddress import ip_network

from contracts.delivery.v1.delivery_service_pb2_grpc import (
    add_DeliveryServiceServicer_to_server,
)
from contracts.delivery.v1.events_pb2 import ComplaintReceived, DeliveryAttempted
from contracts.ingest.v1.directory_pb2 import Domain, Tenant
from contracts.router.v1.events_pb2 import DeliveryAssigned
from kernel.backoff import Health
from kernel.content import FIND_EVERY_S, ContentStore, find, open_store
from kernel.crypto import Secrets
from kernel.database import PLANS, Database, check_roles
from kernel.errors import Unavailable
from kernel.kafka import Kafka
from kernel.outbox import Outbox
from kernel.rpc import Server
from kernel.service import Loop, Service, every
from kernel.stream import Brake, Stream
from kernel.table import Table
from services.delivery.api.rpc import DeliveryService
from services.delivery.api.sandbox import Listener, Sandbox
from services.delivery.clients.dns import Names
from services.delivery.clients.exchangers import Exchangers
from services.delivery.clients.smtp.connections import Connections, Limits
from services.delivery.clients.smtp.dial import Dialler
from services.delivery.clients.smtp.timeouts import Timeouts
from services.delivery.handlers import Handlers
from services.delivery.loops.committer import Committer
from services.delivery.loops.keeping import Keeping
from services.delivery.loops.recovery import Recovery
from services.delivery.loops.rendering import Directory, Renderer
from services.delivery.loops.sender import Sender
from services.delivery.settings import Settings
from services.delivery.store.days import JournalDays
from services.delivery.store.journal import Journal
from services.delivery.store.sandbox import SandboxStore
from services.delivery.store.workers import Worker

SWEEP_EVERY_S = 0.5
CLOSE_IDLE_EVERY_S = 1.0
KEEP_EVERY_S = 3600.0
STOP_READING_S = 5.0  # a consumer without its broker may hang
STARTING = "start"
FILES_MAX = 65_536  # open files that a process asks for, where it may
FILES_OF_OURS = 200  # of those, for Kafka, PostgreSQL, the content store and the doors
# Rows are found by key, a batch at a time: a plan that fits any batch.
GENERIC = {"plan_cache_mode": "force_generic_plan", **PLANS}

Tables = tuple[Table[Tenant], Table[Domain]]


def create(settings: Settings) -> Service:
    """Inside the running loop."""
    house = House.of(settings)
    tables = Table(Tenant, house.kafka), Table(Domain, house.kafka)
    directory = Directory(*tables, Secrets(settings.secret_keys))
    sender = create_sender(house, directory)
    consume(house, sender)

    async def close() -> None:
        sender.stop()
        with suppress(Unavailable):  # its lease ends by itself
            await house.worker.resign()
        await house.outbox.drain()
        await house.kafka.close()
        await house.database.close()
        await house.api_database.close()

    return Service(
        "delivery",
        [
            house.kafka.run,
            partial(check_roles, (house.database, house.api_database), house.health),
            partial(become_ready, house, tables),
            *create_pumps(house, sender),
            *create_doors(house, SandboxStore(directory.content_key)),
        ],
        close,
        house.health,
        drain=partial(drain, house, sender),
        drain_s=settings.drain_s,
        health_host=settings.health_host,
        health_port=settings.health_port,
    )


async def drain(house: "House", sender: Sender) -> None:
    """First nothing new is begun: what this process let go of would wait for another's recovery."""
    with suppress(TimeoutError):
        async with asyncio.timeout(STOP_READING_S):
            await house.kafka.stop_reading()
    await sender.drain()


@dataclass(frozen=True, slots=True)
class House:
    """What several parts share."""

    settings: Settings
    health: Health
    kafka: Kafka
    database: Database
    api_database: Database
    outbox: Outbox
    journal: Journal
    worker: Worker
    days: JournalDays
    content: ContentStore

    @classmethod
    def of(cls, settings: Settings) -> "House":
        health = Health()
        health.away.add(STARTING)
        kafka = Kafka.of(settings, health, client="delivery")
        database = Database(settings.engine_database_url, name="delivery", session=GENERIC)
        return cls(
            settings,
            health,
            kafka,
            database,
            Database(settings.api_database_url, name="delivery", connections_max=4),
            Outbox(database, "delivery", kafka.publish, sweep_after_s=settings.sweep_after_s),
            Journal(),
            Worker(database, socket.gethostname(), lease_s=settings.lease_s),
            JournalDays(database, kept_days=settings.journal_kept_days),
            open_store(settings.content_store_url),
        )


def create_sender(house: House, directory: Directory) -> Sender:
    settings = house.settings
    return Sender(
        Committer(
            house.database,
            house.outbox,
            journal=house.journal,
            health=house.health,
            sweep_after_s=settings.sweep_after_s,
        ),
        Renderer(house.content, directory),
        connections=create_connections(settings),
        health=house.health,
    )


def create_pumps(house: House, sender: Sender) -> list[Loop]:
    settings = house.settings
    recovery = Recovery(
        house.database,
        house.outbox,
        journal=house.journal,
        worker=house.worker,
        sender=sender,
        health=house.health,
        orphan_after_s=settings.orphan_after_s,
    )
    keeping = Keeping(house.database, house.days, sandbox_kept_days=settings.sandbox_kept_days)
    pumps: list[tuple[float, Callable[[], Awaitable[None]]]] = [
        *house.outbox.pumps(SWEEP_EVERY_S),
        (settings.lease_s / 3, house.worker.keep),
        (settings.recover_every_s, recovery.recover),
        (CLOSE_IDLE_EVERY_S, sender.close_idle),
        (KEEP_EVERY_S, keeping.keep),
        (FIND_EVERY_S, partial(find, house.content)),
    ]
    return [partial(every, interval_s, action, house.health) for interval_s, action in pumps]


def consume(house: House, sender: Sender) -> None:
    handlers = Handlers(house.journal, house.worker, house.days, sender.offer)
    stream: Stream[DeliveryAssigned] = Stream(
        DeliveryAssigned,
        name="delivery.assigned",
        handler=handlers.on_assigned,
        health=house.health,
        send=house.kafka.publish,
        database=house.database,
        outbox=house.outbox,
        brake=Brake(parked_share_max=house.settings.parked_share_max),
        gather_s=house.settings.gather_s,
    )
    house.kafka.consume(stream, group="delivery")
    house.kafka.declare(DeliveryAttempted, ComplaintReceived)


def create_doors(house: House, store: SandboxStore) -> list[Loop]:
    settings = house.settings
    server = Server(settings.rpc_listen, settings.rpc_token)
    servicer = DeliveryService(house.database, house.api_database, store)
    add_DeliveryServiceServicer_to_server(servicer, server.grpc)
    if not settings.sandbox_listen:
        return [server.run]
    sandbox = Sandbox(house.database, house.outbox, store, hang_s=settings.sandbox_hang_s)
    return [server.run, Listener(settings.sandbox_listen, sandbox).run]


async def become_ready(house: House, tables: Tables) -> None:
    """Not before the directory is replayed and the journal knows this worker."""
    for table in tables:
        await table.replayed.wait()
    await house.worker.registered.wait()
    house.health.away.discard(STARTING)


def create_connections(settings: Settings) -> Connections:
    limits = Limits(
        settings.connections_max,
        settings.messages_per_connection_max,
        idle_s=settings.idle_s,
        attempt_s=settings.attempt_s,
        patience_s=settings.patience_s,
        connections_total_max=settings.connections_total_max or spare_files(),
    )
    return Connections(create_exchangers(settings), limits)


def spare_files() -> int:
    """How many connections the limit of open files allows beside everything else."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, FILES_MAX)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return max(limit - FILES_OF_OURS, limit // 2)


def create_exchangers(settings: Settings) -> Exchangers:
    timeouts = Timeouts(
        **{
            name: getattr(settings, name)
            for name in Timeouts.__dataclass_fields__
            if name != "quit_s"
        }
    )
    return Exchangers(
        Names(nameservers=settings.nameservers or None),
        Dialler(timeouts),
        allowed=[ip_network(network) for network in settings.relay_allow],
        opening_s=settings.opening_s,
    )
