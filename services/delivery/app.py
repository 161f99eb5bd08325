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
from kernel.content import MOUNT_CHECK_INTERVAL_S, ContentStore, check_mounted, open_store
from kernel.crypto import SecretKeyring
from kernel.database import PLANS, Database, check_roles
from kernel.errors import Unavailable
from kernel.health import DependencyHealth
from kernel.kafka import Kafka
from kernel.outbox import Outbox
from kernel.processor import DeadLetterGuard, StreamProcessor
from kernel.rpc import RpcServer
from kernel.service import Loop, Service, run_every
from kernel.table import ReplicatedTable
from services.delivery.api.rpc import DeliveryService
from services.delivery.api.sandbox import Sandbox, SandboxListener
from services.delivery.clients.dns import CachingResolver
from services.delivery.clients.mx_connector import MxConnector
from services.delivery.clients.smtp.connections import ConnectionConfig, Connections
from services.delivery.clients.smtp.dial import SmtpDialer
from services.delivery.clients.smtp.timeouts import Timeouts
from services.delivery.handlers import Handlers
from services.delivery.loops.committer import Committer
from services.delivery.loops.delivery_dispatcher import DeliveryDispatcher
from services.delivery.loops.partition_maintenance import PartitionMaintenance
from services.delivery.loops.recovery import Recovery
from services.delivery.loops.rendering import Renderer, SigningKeys
from services.delivery.settings import Settings
from services.delivery.store.days import JournalDayPartitions
from services.delivery.store.journal import Journal
from services.delivery.store.sandbox import SandboxStore
from services.delivery.store.workers import WorkerRegistration

SWEEP_INTERVAL_S = 0.5
CLOSE_IDLE_INTERVAL_S = 1.0
MAINTENANCE_INTERVAL_S = 3600.0
STOP_CONSUMING_TIMEOUT_S = 5.0  # a consumer without its broker may hang
STARTING = "start"
FILES_MAX = 65_536  # the most open files to request, if the hard limit allows it
RESERVED_FILES = 200  # reserved for Kafka, PostgreSQL, the content store and the listeners
# Statements find rows by key, a batch at a time, so one plan fits every batch.
SESSION_SETTINGS = {"plan_cache_mode": "force_generic_plan", **PLANS}

Tables = tuple[ReplicatedTable[Tenant], ReplicatedTable[Domain]]


def create_service(settings: Settings) -> Service:
    """Create the service; call it inside the running event loop."""
    dependencies = Dependencies.of(settings)
    tables = (
        ReplicatedTable(Tenant, dependencies.kafka),
        ReplicatedTable(Domain, dependencies.kafka),
    )
    signing_keys = SigningKeys(*tables, SecretKeyring(settings.secret_keys))
    delivery_dispatcher = create_delivery_dispatcher(dependencies, signing_keys)
    consume(dependencies, delivery_dispatcher)

    async def close() -> None:
        delivery_dispatcher.stop()
        with suppress(Unavailable):  # then the lease expires by itself
            await dependencies.worker.deregister()
        await dependencies.outbox.drain()
        await dependencies.kafka.close()
        await dependencies.database.close()
        await dependencies.tenant_database.close()

    return Service(
        "delivery",
        [
            dependencies.kafka.run,
            partial(
                check_roles,
                (dependencies.database, dependencies.tenant_database),
                dependencies.health,
            ),
            partial(become_ready, dependencies, tables),
            *create_pumps(dependencies, delivery_dispatcher),
            *create_listeners(dependencies, SandboxStore(signing_keys.content_key)),
        ],
        close,
        dependencies.health,
        drain=partial(drain, dependencies, delivery_dispatcher),
        shutdown_timeout_s=settings.shutdown_timeout_s,
        health_listen=settings.health_listen,
    )


async def drain(dependencies: "Dependencies", delivery_dispatcher: DeliveryDispatcher) -> None:
    """Stop consuming first: a new attempt would be left to the recovery of another worker."""
    with suppress(TimeoutError):
        async with asyncio.timeout(STOP_CONSUMING_TIMEOUT_S):
            await dependencies.kafka.stop_consuming()
    await delivery_dispatcher.drain()


@dataclass(frozen=True, slots=True)
class Dependencies:
    """Objects that several parts of the service share."""

    settings: Settings
    health: DependencyHealth
    kafka: Kafka
    database: Database
    tenant_database: Database
    outbox: Outbox
    journal: Journal
    worker: WorkerRegistration
    days: JournalDayPartitions
    content: ContentStore

    @classmethod
    def of(cls, settings: Settings) -> "Dependencies":
        health = DependencyHealth()
        health.unavailable.add(STARTING)
        kafka = Kafka.from_settings(settings, health, client="delivery")
        database = Database(settings.system_database_url, name="delivery", session=SESSION_SETTINGS)
        return cls(
            settings,
            health,
            kafka,
            database,
            Database(settings.tenant_database_url, name="delivery", connections_max=4),
            Outbox(
                database, "delivery", kafka.publish, sweep_after_s=settings.outbox_sweep_after_s
            ),
            Journal(),
            WorkerRegistration(database, socket.gethostname(), lease_s=settings.worker_lease_s),
            JournalDayPartitions(database, retention_days=settings.journal_retention_days),
            open_store(settings.content_store_url),
        )


def create_delivery_dispatcher(
    dependencies: Dependencies, signing_keys: SigningKeys
) -> DeliveryDispatcher:
    settings = dependencies.settings
    return DeliveryDispatcher(
        Committer(
            dependencies.database,
            dependencies.outbox,
            journal=dependencies.journal,
            health=dependencies.health,
            sweep_after_s=settings.outbox_sweep_after_s,
        ),
        Renderer(dependencies.content, signing_keys),
        connections=create_connections(settings),
        health=dependencies.health,
    )


def create_pumps(dependencies: Dependencies, delivery_dispatcher: DeliveryDispatcher) -> list[Loop]:
    settings = dependencies.settings
    recovery = Recovery(
        dependencies.database,
        dependencies.outbox,
        journal=dependencies.journal,
        worker=dependencies.worker,
        delivery_dispatcher=delivery_dispatcher,
        health=dependencies.health,
        orphan_after_s=settings.orphan_after_s,
    )
    maintenance = PartitionMaintenance(
        dependencies.database,
        dependencies.days,
        sandbox_retention_days=settings.sandbox_retention_days,
    )
    pumps: list[tuple[float, Callable[[], Awaitable[None]]]] = [
        *dependencies.outbox.pumps(SWEEP_INTERVAL_S),
        (settings.worker_lease_s / 3, dependencies.worker.register_or_renew),
        (settings.recovery_interval_s, recovery.run_once),
        (CLOSE_IDLE_INTERVAL_S, delivery_dispatcher.close_idle),
        (MAINTENANCE_INTERVAL_S, maintenance.run_once),
        (MOUNT_CHECK_INTERVAL_S, partial(check_mounted, dependencies.content)),
    ]
    return [
        partial(run_every, interval_s, action, dependencies.health) for interval_s, action in pumps
    ]


def consume(dependencies: Dependencies, delivery_dispatcher: DeliveryDispatcher) -> None:
    handlers = Handlers(
        dependencies.journal, dependencies.worker, dependencies.days, delivery_dispatcher.enqueue
    )
    stream: StreamProcessor[DeliveryAssigned] = StreamProcessor(
        DeliveryAssigned,
        name="delivery.assigned",
        handler=handlers.on_assigned,
        health=dependencies.health,
        send=dependencies.kafka.publish,
        database=dependencies.database,
        outbox=dependencies.outbox,
        guard=DeadLetterGuard(ratio_max=dependencies.settings.dead_letter_ratio_max),
        linger_s=dependencies.settings.linger_s,
    )
    dependencies.kafka.consume(stream, group="delivery")
    dependencies.kafka.declare(DeliveryAttempted, ComplaintReceived)


def create_listeners(dependencies: Dependencies, store: SandboxStore) -> list[Loop]:
    settings = dependencies.settings
    server = RpcServer(settings.rpc_listen, settings.rpc_token)
    servicer = DeliveryService(dependencies.database, dependencies.tenant_database, store)
    add_DeliveryServiceServicer_to_server(servicer, server.grpc)
    if not settings.sandbox_listen:
        return [server.run]
    sandbox = Sandbox(
        dependencies.database,
        dependencies.outbox,
        store,
        reply_delay_s=settings.sandbox_reply_delay_s,
    )
    return [server.run, SandboxListener(settings.sandbox_listen, sandbox).run]


async def become_ready(dependencies: Dependencies, tables: Tables) -> None:
    """Report ready once the directory is replayed and this worker is registered."""
    for table in tables:
        await table.replayed.wait()
    await dependencies.worker.registered.wait()
    dependencies.health.unavailable.discard(STARTING)


def create_connections(settings: Settings) -> Connections:
    config = ConnectionConfig(
        settings.smtp_connections_max,
        settings.smtp_messages_per_connection_max,
        idle_timeout_s=settings.smtp_idle_timeout_s,
        attempt_timeout_s=settings.attempt_timeout_s,
        wait_max_s=settings.connection_wait_max_s,
        connections_total_max=settings.smtp_connections_total_max or default_connections_total(),
    )
    return Connections(create_mx_connector(settings), config)


def default_connections_total() -> int:
    """The number of connections that the limit of open files allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, FILES_MAX)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return max(limit - RESERVED_FILES, limit // 2)


def create_mx_connector(settings: Settings) -> MxConnector:
    timeouts = Timeouts(
        **{
            name: getattr(settings, f"smtp_{name.removesuffix('_s')}_timeout_s")
            for name in Timeouts.__dataclass_fields__
            if name != "quit_s"
        }
    )
    return MxConnector(
        CachingResolver(nameservers=settings.nameservers or None),
        SmtpDialer(timeouts),
        allowed=[ip_network(network) for network in settings.relay_allowed_networks],
        open_timeout_s=settings.smtp_session_open_timeout_s,
    )
