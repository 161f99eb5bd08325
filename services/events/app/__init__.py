"""Composition root: the only place where events is wired together."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from contracts.events.v1.events_pb2 import CertificateChanged
from contracts.events.v1.events_service_pb2_grpc import add_EventsServiceServicer_to_server
from contracts.ingest.v1.directory_pb2 import Account, Tenant
from kernel import status
from kernel.brand import read_brands
from kernel.crypto import SecretKeyring
from kernel.database import Database, check_roles
from kernel.days import CREATION_INTERVAL_S, create_coming_days
from kernel.health import DependencyHealth
from kernel.kafka import Kafka
from kernel.lease import Lease
from kernel.outbox import Outbox
from kernel.prices import read_prices
from kernel.processor import DeadLetterGuard, StreamProcessor
from kernel.replicas import ReplicaCounter
from kernel.rpc import RpcServer
from kernel.service import Loop, Service, close_in_order, create_loops
from mail.reachable import parse_networks
from services.events.api import EventsServicer
from services.events.api.event_feed import EventFeed
from services.events.api.tracking.hosts import LinkHostRegistry
from services.events.api.webhooks import WebhookDependencies
from services.events.app.account_mail import AccountMailComponents, create_account_mail
from services.events.app.certificates import create_host_tls
from services.events.app.exports import ExportComponents, create_exports
from services.events.app.tracking import TrackingComponents, create_tracking
from services.events.clients import WebhookClient
from services.events.clients.brands import TenantBrands
from services.events.clients.plans import AccountPlans
from services.events.clients.pools import SourcePools
from services.events.clients.tracking_hosts import DomainTrackingHosts
from services.events.domain.log_event import ALL_EVENTS
from services.events.handlers import EventLogHandler, on_owner
from services.events.loops.account_backfill import AccountBackfill
from services.events.loops.figures import RollUpFolding
from services.events.loops.reports import ReportPublisher
from services.events.loops.retention import RetentionMaintenance
from services.events.loops.usage_thresholds import UsageThresholdPublisher
from services.events.loops.webhook_dispatcher import WebhookConfig, WebhookDispatcher
from services.events.loops.webhook_recovery import WebhookRecovery
from services.events.settings import Settings
from services.events.store import days

SWEEP_INTERVAL_S = 1.0
DAY_S = 86_400.0
ACCOUNTS_INTERVAL_S = 600.0
RECOVERY_INTERVAL_S = 1.0
BACKLOG_INTERVAL_S = 15.0
FOLD_INTERVAL_S = 1.0
NOTICE_INTERVAL_S = 5.0
REPORT_INTERVAL_S = 5.0
THRESHOLDS_INTERVAL_S = 3.0
# To plan a batch statement over day partitions each time would cost more than to run it.
SESSION_SETTINGS = {"plan_cache_mode": "force_generic_plan"}


@dataclass(frozen=True, slots=True)
class Dependencies:
    """Objects that several parts of the service share."""

    settings: Settings
    health: DependencyHealth
    kafka: Kafka
    system_database: Database
    tenant_database: Database
    outbox: Outbox
    secrets: SecretKeyring
    client: WebhookClient
    brands: TenantBrands
    webhooks: WebhookDispatcher
    replicas: ReplicaCounter
    tracking: TrackingComponents
    figures_lease: Lease
    exports: ExportComponents
    account_mail: AccountMailComponents | None
    plans: AccountPlans
    egress_pools: SourcePools

    async def close(self) -> None:
        await close_in_order(
            self.webhooks.drain,
            self.replicas.leave,
            self.figures_lease.release,
            self.exports.close,
            *self.tracking.parts,
            *([self.account_mail.close] if self.account_mail else []),
            self.outbox.drain,
            self.kafka.close,
            self.client.close,
            self.tenant_database.close,
            self.system_database.close,
        )


def create_service(settings: Settings) -> Service:
    """Call it inside the running event loop. Raises ConfigError."""
    deps = create_dependencies(settings)
    register_consumers(deps)
    feed = EventFeed(deps.system_database, deps.health)
    return Service(
        "events",
        loops=[
            partial(check_roles, (deps.system_database, deps.tenant_database), deps.health),
            deps.kafka.run,
            create_rpc_server(deps, feed).run,
            feed.run,
            deps.replicas.run,
            deps.webhooks.run,
            *create_maintenance_loops(deps),
            *deps.tracking.loops,
        ],
        close=deps.close,
        health=deps.health,
        drain=deps.webhooks.drain,
        shutdown_timeout_s=settings.shutdown_timeout_s,
        health_listen=settings.health_listen,
    )


def create_dependencies(settings: Settings) -> Dependencies:
    health = DependencyHealth()
    kafka = Kafka.from_settings(settings, health, client="events")
    database = Database(
        settings.system_database_url, name="events system", session=SESSION_SETTINGS
    )
    outbox = Outbox(database, "events", kafka.publish, sweep_after_s=settings.outbox_sweep_after_s)
    secrets = SecretKeyring(settings.secret_keys)
    allowed = parse_networks(settings.webhook_allowed_networks)
    brands = TenantBrands(read_brands(settings.brands_file), kafka)
    client = WebhookClient(allowed, timeout_s=settings.webhook_timeout_s)
    replicas = ReplicaCounter(database, "events")
    webhooks = WebhookDispatcher(
        database, outbox,
        client=client, brands=brands, secrets=secrets, health=health,
        config=webhook_config(settings, replicas),
    )  # fmt: skip
    return Dependencies(
        settings,
        health,
        kafka,
        database,
        Database(settings.tenant_database_url, connections_max=4, name="events tenant"),
        outbox,
        secrets,
        client,
        brands,
        webhooks,
        replicas,
        create_links(
            settings, kafka, database=database, outbox=outbox, health=health, brands=brands
        ),
        Lease(database, "events", "figures", lease_s=settings.lease_s),
        create_exports(settings, database, secrets),
        create_account_mail(settings, database, brands),
        AccountPlans(read_prices(settings.prices_file), kafka),
        SourcePools(kafka),
    )


def create_links(
    settings: Settings,
    kafka: Kafka,
    *,
    database: Database,
    outbox: Outbox,
    health: DependencyHealth,
    brands: TenantBrands,
) -> TrackingComponents:
    """Raises ConfigError."""
    own, known = DomainTrackingHosts(kafka), brands.brands
    hosts = LinkHostRegistry(known, own.target_of, lambda: brands.are_known() and own.are_known())
    kafka.declare(CertificateChanged)
    host_tls = create_host_tls(
        settings, database=database, outbox=outbox, hosts=hosts, records=own.table,
        secrets=SecretKeyring(settings.secret_keys),
    )  # fmt: skip
    return create_tracking(
        settings, database=database, outbox=outbox, health=health, hosts=hosts,
        certificates=known.certificates, host_tls=host_tls,
    )  # fmt: skip


def register_consumers(deps: Dependencies) -> None:
    """Consume every event with one processor, and the directory's tenants with another."""
    settings, webhooks = deps.settings, deps.webhooks
    handler = EventLogHandler(
        webhooks.capacity, webhooks.enqueue, settings.webhook_lease_s, deps.brands.account_of
    )
    log = StreamProcessor(
        *ALL_EVENTS,
        name="events.log",
        handler=handler.on_event,
        health=deps.health,
        send=deps.kafka.publish,
        database=deps.system_database,
        outbox=deps.outbox,
        guard=DeadLetterGuard(ratio_max=settings.dead_letter_ratio_max),
        linger_s=settings.linger_s,
    )
    tenants = StreamProcessor(
        Tenant,
        Account,
        name="events.tenants",
        handler=on_owner,
        health=deps.health,
        send=deps.kafka.publish,
        database=deps.system_database,
        outbox=deps.outbox,
    )
    deps.kafka.consume(log, group=settings.group)
    deps.kafka.consume(tenants, group=f"{settings.group}-tenants")


def create_rpc_server(deps: Dependencies, feed: EventFeed) -> RpcServer:
    allowed = parse_networks(deps.settings.webhook_allowed_networks)
    servicer = EventsServicer(
        deps.system_database,
        deps.tenant_database,
        feed=feed,
        webhooks=WebhookDependencies(deps.secrets, allowed, deps.webhooks.wake),
        egress_pools=deps.egress_pools.load,
        sends_mail=deps.account_mail is not None,
    )
    server = status.create_rpc_server(
        deps.settings,
        deps.settings.rpc_listen,
        deps.system_database,
        schema="events",
        ahead=days.TABLES,
    )
    add_EventsServiceServicer_to_server(servicer, server.grpc)
    return server


def create_maintenance_loops(deps: Dependencies) -> list[Loop]:
    retention = RetentionMaintenance(
        deps.system_database,
        log_days=deps.settings.log_retention_days,
        kept_longer=deps.plans.kept_longer,
    )
    create_days: Callable[[], Awaitable[None]] = partial(
        create_coming_days, deps.system_database, "events", days.LogDayPartitions().create
    )
    accounts = AccountBackfill(deps.system_database)
    recovery = WebhookRecovery(
        deps.system_database,
        retention_days=deps.settings.log_retention_days,
        on_queued=deps.webhooks.wake,
    )
    figures = RollUpFolding(deps.figures_lease)
    thresholds = UsageThresholdPublisher(
        deps.figures_lease, deps.outbox, deps.health, deps.plans.prices, deps.plans.plan_of
    )
    actions = [
        *deps.outbox.loop_actions(SWEEP_INTERVAL_S),
        (CREATION_INTERVAL_S, create_days),
        (DAY_S, retention.run_once),
        (ACCOUNTS_INTERVAL_S, accounts.run_once),
        (RECOVERY_INTERVAL_S, recovery.run_once),
        (BACKLOG_INTERVAL_S, deps.webhooks.measure_backlog),
        (FOLD_INTERVAL_S, figures.run_once),
        (DAY_S, figures.delete_expired),
        *deps.exports.actions,
        (REPORT_INTERVAL_S, create_reports(deps).run_once),
        (THRESHOLDS_INTERVAL_S, thresholds.run_once),
    ]
    if deps.account_mail is not None:
        actions.append((NOTICE_INTERVAL_S, deps.account_mail.loop.run_once))
        actions.append((NOTICE_INTERVAL_S, deps.account_mail.reports.run_once))
    leases = [deps.figures_lease.maintain, deps.exports.lease.maintain]
    return [*leases, *create_loops(actions, deps.health)]


def create_reports(deps: Dependencies) -> ReportPublisher:
    exports = deps.exports
    return ReportPublisher(
        deps.system_database,
        exports.exporter.database,
        deps.outbox,
        exports.lease,
        deps.health,
        deps.egress_pools.load,
    )


def webhook_config(settings: Settings, replicas: ReplicaCounter) -> WebhookConfig:
    return WebhookConfig(
        settings.webhook_retry_schedule_s,
        lambda: replicas.share_of(settings.webhook_concurrency),
        settings.webhook_timeout_s,
        settings.webhook_probe_interval_s,
        settings.webhook_poll_interval_s,
        settings.webhook_lease_s,
        bool(settings.notice_from),
    )
