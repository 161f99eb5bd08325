"""Composition root: the only place where delivery is wired together."""

import asyncio
import resource
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial

from dns.asyncresolver import Resolver

from contracts.delivery.v1.delivery_service_pb2_grpc import (
    add_DeliveryServiceServicer_to_server,
)
from contracts.delivery.v1.events_pb2 import (
    BounceReceived,
    ComplaintReceived,
    DeliveryAttempted,
)
from contracts.ingest.v1.directory_pb2 import Domain, Tenant
from contracts.router.v1.events_pb2 import DeliveryAssigned
from kernel.content import MOUNT_CHECK_INTERVAL_S, ContentStore, check_mounted, open_store
from kernel.crypto import SecretKeyring, derived_key
from kernel.database import PLANS, Database, check_roles
from kernel.days import CREATION_INTERVAL_S
from kernel.errors import Unavailable
from kernel.health import DependencyHealth
from kernel.kafka import Kafka
from kernel.outbox import Outbox
from kernel.processor import DeadLetterGuard, StreamProcessor
from kernel.service import Loop, Service, close_in_order, create_loops
from kernel.status import create_rpc_server
from kernel.table import ReplicatedTable
from mail.reachable import parse_networks
from services.delivery.api.rpc import DeliveryServicer
from services.delivery.api.sandbox import SandboxListener, SandboxSmtpHandler
from services.delivery.app.egress_hosts import create_egress_hosts
from services.delivery.app.return_path import create_operator_mail, create_return_path_loops
from services.delivery.app.tls import create_resolver, create_tls_policies, create_tls_reporter
from services.delivery.clients.dns import CachingResolver
from services.delivery.clients.mail_reader import (
    MailReaderChild,
    mail_reader,
    report_reader,
)
from services.delivery.clients.mx_connector import MxConnector
from services.delivery.clients.operator_mail import OperatorForwarder
from services.delivery.clients.rendering_keys import RenderingKeys
from services.delivery.clients.smtp.connections import ConnectionPoolConfig, ConnectionRegistry
from services.delivery.clients.smtp.dial import SmtpDialer
from services.delivery.clients.smtp.egress_hosts import EgressHostDialer
from services.delivery.clients.smtp.timeouts import SmtpTimeouts
from services.delivery.domain.domain_reports import DomainReportSummary
from services.delivery.domain.feedback_ids import FeedbackIdEncoder
from services.delivery.domain.returned_mail import ReturnedMail
from services.delivery.handlers import AssignmentHandler
from services.delivery.loops.committer import JournalCommitter
from services.delivery.loops.delivery_dispatcher import DeliveryDispatcher
from services.delivery.loops.recovery import OrphanRecovery
from services.delivery.loops.rendering import Renderer
from services.delivery.loops.retention import RetentionMaintenance
from services.delivery.loops.tls_reports import DailyTlsReporter, TlsSessionCounter
from services.delivery.settings import Settings
from services.delivery.store.days import TABLES, JournalDayPartitions
from services.delivery.store.journal import Journal
from services.delivery.store.sandbox import SandboxStore
from services.delivery.store.tls_reports import TlsReportStore
from services.delivery.store.workers import WorkerRegistration

SWEEP_INTERVAL_S = 0.5
CONNECTIONS_INTERVAL_S = 1.0
MAINTENANCE_INTERVAL_S = 3600.0
COUNTS_INTERVAL_S, REPORTS_INTERVAL_S = 60.0, 3600.0  # of TLS reports
STOP_CONSUMING_TIMEOUT_S = 5.0  # a consumer without its broker may hang
STARTING = "start"
FILES_MAX = 65_536  # the most open files to request, if the hard limit allows it
RESERVED_FILES = 200  # reserved for Kafka, PostgreSQL, the content store and the listeners
# Statements find rows by key, a batch at a time, so one plan fits every batch.
SESSION_SETTINGS = {"plan_cache_mode": "force_generic_plan", **PLANS}

Tables = tuple[ReplicatedTable[Tenant], ReplicatedTable[Domain]]


@dataclass(frozen=True, slots=True)
class Dependencies:
    """Objects that several parts of the service share."""

    settings: Settings
    health: DependencyHealth
    kafka: Kafka
    system_database: Database
    tenant_database: Database
    outbox: Outbox
    journal: Journal
    worker: WorkerRegistration
    days: JournalDayPartitions
    content: ContentStore
    mail_reader: MailReaderChild[ReturnedMail]
    report_reader: MailReaderChild[DomainReportSummary]
    operator_mail: OperatorForwarder | None
    resolver: Resolver
    egress_hosts: EgressHostDialer
    tls_counter: TlsSessionCounter
    tls_reporter: DailyTlsReporter | None

    async def close(self) -> None:
        with suppress(Unavailable):  # then the lease expires by itself
            await self.worker.deregister()
        optional = (self.tls_reporter, self.operator_mail)
        await close_in_order(
            self.mail_reader.child.close,
            self.report_reader.child.close,
            self.tls_counter.close,
            *(one.close for one in optional if one is not None),
            self.outbox.drain,
            self.kafka.close,
            self.tenant_database.close,
            self.system_database.close,
        )


def create_service(settings: Settings) -> Service:
    """Call it inside the running event loop. Raises ConfigError."""
    deps = create_dependencies(settings)
    tables = (ReplicatedTable(Tenant, deps.kafka), ReplicatedTable(Domain, deps.kafka))
    tracking_key = derived_key(settings.secret_keys[0], "tracking")
    secrets = SecretKeyring(settings.secret_keys)
    keys = RenderingKeys(
        *tables,
        secrets,
        tracking_key=tracking_key,
        feedback_ids=FeedbackIdEncoder(
            derived_key(settings.secret_keys[0], "feedback id"), settings.feedback_sender_id
        ),
    )
    dispatcher = create_delivery_dispatcher(deps, keys)
    register_consumers(deps, dispatcher)
    return Service(
        "delivery",
        loops=[
            partial(check_roles, (deps.system_database, deps.tenant_database), deps.health),
            deps.kafka.run,
            partial(become_ready, deps, tables),
            *create_servers(deps, SandboxStore(keys.content_key)),
            *create_return_path_loops(deps, tables[1]),
            *create_maintenance_loops(deps, dispatcher),
        ],
        close=partial(close, deps, dispatcher),
        health=deps.health,
        drain=partial(drain, deps, dispatcher),
        shutdown_timeout_s=settings.shutdown_timeout_s,
        health_listen=settings.health_listen,
    )


async def drain(deps: Dependencies, dispatcher: DeliveryDispatcher) -> None:
    """Stop consuming first: a new attempt would be left to the recovery of another worker."""
    with suppress(TimeoutError):
        async with asyncio.timeout(STOP_CONSUMING_TIMEOUT_S):
            await deps.kafka.stop_consuming()
    await dispatcher.drain()


async def close(deps: Dependencies, dispatcher: DeliveryDispatcher) -> None:
    dispatcher.stop()
    await dispatcher.close()
    await deps.close()


def create_dependencies(settings: Settings) -> Dependencies:
    health = DependencyHealth()
    health.unavailable.add(STARTING)
    kafka = Kafka.from_settings(settings, health, client="delivery")
    database = Database(
        settings.system_database_url, name="delivery system", session=SESSION_SETTINGS
    )
    resolver = create_resolver(settings)
    reporter = create_tls_reporter(settings, database, resolver)
    return Dependencies(
        settings,
        health,
        kafka,
        database,
        Database(settings.tenant_database_url, name="delivery tenant", connections_max=4),
        Outbox(database, "delivery", kafka.publish, sweep_after_s=settings.outbox_sweep_after_s),
        Journal(),
        WorkerRegistration(database, socket.gethostname(), lease_s=settings.worker_lease_s),
        JournalDayPartitions(database, retention_days=settings.journal_retention_days),
        open_store(settings.content_store_url),
        mail_reader(),
        report_reader(),
        create_operator_mail(settings),
        resolver,
        create_egress_hosts(settings),
        TlsSessionCounter(None if reporter is None else TlsReportStore(database)),
        reporter,
    )


def register_consumers(deps: Dependencies, dispatcher: DeliveryDispatcher) -> None:
    handler = AssignmentHandler(deps.journal, deps.worker, deps.days, dispatcher.enqueue)
    stream: StreamProcessor[DeliveryAssigned] = StreamProcessor(
        DeliveryAssigned,
        name="delivery.assigned",
        handler=handler.on_assigned,
        health=deps.health,
        send=deps.kafka.publish,
        database=deps.system_database,
        outbox=deps.outbox,
        guard=DeadLetterGuard(ratio_max=deps.settings.dead_letter_ratio_max),
        linger_s=deps.settings.linger_s,
    )
    deps.kafka.consume(stream, group="delivery")
    deps.kafka.declare(DeliveryAttempted, ComplaintReceived, BounceReceived)


def create_delivery_dispatcher(deps: Dependencies, keys: RenderingKeys) -> DeliveryDispatcher:
    settings = deps.settings
    return DeliveryDispatcher(
        JournalCommitter(
            deps.system_database,
            deps.outbox,
            journal=deps.journal,
            health=deps.health,
            sweep_after_s=settings.outbox_sweep_after_s,
        ),
        Renderer(deps.content, keys),
        connections=create_connections(deps),
        tls_policies=create_tls_policies(
            settings, deps.system_database, deps.resolver, counter=deps.tls_counter
        ),
        health=deps.health,
    )


def create_servers(deps: Dependencies, store: SandboxStore) -> list[Loop]:
    settings = deps.settings
    server = create_rpc_server(
        settings, settings.rpc_listen, deps.system_database, schema="delivery", ahead=TABLES
    )
    servicer = DeliveryServicer(
        deps.system_database, deps.tenant_database, sandbox=store, egress_hosts=deps.egress_hosts
    )
    add_DeliveryServiceServicer_to_server(servicer, server.grpc)
    if not settings.sandbox_listen:
        return [server.run]
    sandbox = SandboxSmtpHandler(
        deps.system_database,
        deps.outbox,
        store,
        reply_delay_s=settings.sandbox_reply_delay_s,
    )
    return [server.run, SandboxListener(settings.sandbox_listen, sandbox).run]


async def become_ready(deps: Dependencies, tables: Tables) -> None:
    """Report ready once the directory is replayed and this worker is registered."""
    for table in tables:
        await table.replayed.wait()
    await deps.worker.registered.wait()
    deps.health.unavailable.discard(STARTING)


def create_maintenance_loops(deps: Dependencies, dispatcher: DeliveryDispatcher) -> list[Loop]:
    settings = deps.settings
    recovery = OrphanRecovery(
        deps.system_database,
        deps.outbox,
        journal=deps.journal,
        worker=deps.worker,
        delivery_dispatcher=dispatcher,
        health=deps.health,
        orphan_after_s=settings.orphan_after_s,
    )
    maintenance = RetentionMaintenance(
        deps.system_database, deps.days, sandbox_retention_days=settings.sandbox_retention_days
    )
    actions: list[tuple[float, Callable[[], Awaitable[None]]]] = [
        *deps.outbox.loop_actions(SWEEP_INTERVAL_S),
        (settings.worker_lease_s / 3, deps.worker.register_or_renew),
        (settings.recovery_interval_s, recovery.run_once),
        (CONNECTIONS_INTERVAL_S, dispatcher.maintain_connections),
        (CREATION_INTERVAL_S, deps.days.create_coming),
        (MAINTENANCE_INTERVAL_S, maintenance.run_once),
        (MOUNT_CHECK_INTERVAL_S, partial(check_mounted, deps.content)),
    ]
    if (reporter := deps.tls_reporter) is None:
        return create_loops(actions, deps.health)
    actions += [
        (COUNTS_INTERVAL_S, deps.tls_counter.flush),
        (REPORTS_INTERVAL_S, reporter.run_once),
    ]
    return [*create_loops(actions, deps.health), reporter.lease.maintain]


def create_connections(deps: Dependencies) -> ConnectionRegistry:
    settings = deps.settings
    config = ConnectionPoolConfig(
        settings.smtp_connections_max,
        settings.smtp_messages_per_connection_max,
        idle_timeout_s=settings.smtp_idle_timeout_s,
        attempt_timeout_s=settings.attempt_timeout_s,
        wait_max_s=settings.connection_wait_max_s,
        connections_total_max=settings.smtp_connections_total_max or default_connections_total(),
    )
    return ConnectionRegistry(create_mx_connector(deps), config)


def default_connections_total() -> int:
    """The number of connections that the limit of open files allows."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    limit = FILES_MAX if hard == resource.RLIM_INFINITY else min(hard, FILES_MAX)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
    return max(limit - RESERVED_FILES, limit // 2)


def create_mx_connector(deps: Dependencies) -> MxConnector:
    settings = deps.settings
    timeouts = SmtpTimeouts(
        **{
            name: getattr(settings, f"smtp_{name.removesuffix('_s')}_timeout_s")
            for name in SmtpTimeouts.__dataclass_fields__
            if name != "quit_s"
        }
    )
    return MxConnector(
        CachingResolver(deps.resolver),
        SmtpDialer(timeouts, egress_hosts=deps.egress_hosts),
        allowed=parse_networks(settings.relay_allowed_networks),
        open_timeout_s=settings.smtp_session_open_timeout_s,
        observer=deps.tls_counter,
    )
