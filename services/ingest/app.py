"""Composition root: the only place where ingest is wired together."""

from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from math import ceil

from contracts.delivery.v1.delivery_service_pb2_grpc import DeliveryServiceStub
from contracts.events.v1.events_service_pb2_grpc import EventsServiceStub
from contracts.ingest.v1.directory_pb2 import Account, ApiKey, Domain, Tenant
from contracts.ingest.v1.events_pb2 import MessageAccepted
from contracts.router.v1.events_pb2 import MessageClosed
from contracts.router.v1.router_service_pb2_grpc import RouterServiceStub
from contracts.shield.v1.events_pb2 import MessageScreened
from contracts.shield.v1.shield_service_pb2_grpc import ShieldServiceStub
from kernel.content import MOUNT_CHECK_INTERVAL_S, ContentStore, open_store
from kernel.crypto import SecretKeyring, derived_key
from kernel.database import PLANS, Database, check_roles
from kernel.health import DependencyHealth
from kernel.kafka import Kafka
from kernel.lease import Lease
from kernel.outbox import Outbox
from kernel.processor import DeadLetterGuard, StreamProcessor
from kernel.rpc import RpcClient
from kernel.service import Loop, Service, close_in_order, create_loops
from mail.reachable import networks
from services.ingest.api.acceptance import Acceptance, RetentionConfig
from services.ingest.api.access import AccessControl
from services.ingest.api.cors import with_cors
from services.ingest.api.emails import EmailService
from services.ingest.api.fetcher import AttachmentFetcher
from services.ingest.api.grpc import EmailServicer
from services.ingest.api.grpc_server import PublicGrpcServer, TrustedProxies
from services.ingest.api.http_app import HttpApp
from services.ingest.api.rest import RestDependencies, rest
from services.ingest.api.rest_base import RestAccess
from services.ingest.api.sending import SendHandler
from services.ingest.api.server import HttpServer
from services.ingest.api.submission.listeners import create_submission
from services.ingest.clients import ServiceClient, ServiceClients
from services.ingest.clients.downloads import Downloads
from services.ingest.domain.attachments import FETCH_DISABLED, FetchPolicy
from services.ingest.domain.bodies import BodyMemory
from services.ingest.domain.limits import RateLimiter
from services.ingest.domain.priority import BulkClassifier
from services.ingest.handlers import Handlers
from services.ingest.loops.audit import Audit, AuditConfig, AuditConsumers
from services.ingest.loops.publisher import DirectoryPublisher
from services.ingest.loops.retention import Retention
from services.ingest.settings import Settings
from services.ingest.store.acceptance import AcceptanceStore
from services.ingest.store.audit import AuditStore
from services.ingest.store.backpressure import Backpressure
from services.ingest.store.content_usage import ContentUsage
from services.ingest.store.directory import DirectoryStore, UnpublishedEntries
from services.ingest.store.directory_cache import DirectoryCache
from services.ingest.store.emails import EmailStore
from services.ingest.store.retention import RetentionStore

CLOSED_LINGER_S = 0.2  # a close event is not urgent
RETENTION_INTERVAL_S = 3600.0
ROUTER_GROUP = "router-screened"  # consumer group of the router for MessageScreened


@dataclass(frozen=True, slots=True)
class Dependencies:
    """Shared objects. kafka_health is separate: ingest is ready without the broker."""

    settings: Settings
    health: DependencyHealth
    kafka_health: DependencyHealth
    kafka: Kafka
    system_database: Database
    tenant_database: Database
    outbox: Outbox
    content: ContentStore
    secrets: SecretKeyring
    return_path_key: bytes
    clients: ServiceClients
    downloads: Downloads | None
    lease: Lease

    async def close(self) -> None:
        await close_in_order(
            self.outbox.drain,
            self.lease.release,
            self.kafka.close,
            self.clients.close,
            *([self.downloads.close] if self.downloads is not None else []),
            self.tenant_database.close,
            self.system_database.close,
        )


def create_service(settings: Settings) -> Service:
    """Call it inside the running event loop. Raises ConfigError."""
    deps = create_dependencies(settings)
    backpressure = create_backpressure(deps)
    directory = DirectoryStore(deps.system_database)
    directory_cache = DirectoryCache(
        directory,
        deps.health,
        every_s=settings.directory_read_interval_s,
        age_max_s=settings.directory_age_max_s,
    )
    bodies = BodyMemory(settings.bodies_mb_max * 1024 * 1024)
    limiter = RateLimiter(settings.key_rate_limit_per_s)
    access = AccessControl(directory_cache, limiter, deps.secrets, bodies=bodies)
    acceptance = create_acceptance(deps, access=access, backpressure=backpressure)
    audits = AuditStore(
        deps.system_database,
        closed_after_s=settings.audit_closed_after_s,
        return_path_key=deps.return_path_key,
    )
    consume(deps, Handlers(audits))
    return Service(
        "ingest",
        loops=[
            partial(check_roles, (deps.system_database, deps.tenant_database), deps.health),
            *create_servers(deps, access=access, acceptance=acceptance, directory=directory),
            directory_cache.run,
            *create_maintenance_loops(deps, audits, backpressure),
        ],
        close=deps.close,
        health=deps.health,
        drain=acceptance.wait_idle,
        shutdown_timeout_s=settings.shutdown_timeout_s,
        health_listen=settings.health_listen,
    )


def create_dependencies(settings: Settings) -> Dependencies:
    kafka_health = DependencyHealth()
    kafka = Kafka.from_settings(settings, kafka_health, client="ingest")
    kafka.declare(MessageAccepted, Account, Tenant, ApiKey, Domain)
    database = partial(Database, connections_max=settings.database_connections_max, session=PLANS)
    system = database(settings.system_database_url, name="ingest system")
    allowed = networks(settings.attachment_fetch_allowed_networks)
    return Dependencies(
        settings=settings,
        health=DependencyHealth(),
        kafka_health=kafka_health,
        kafka=kafka,
        system_database=system,
        tenant_database=database(settings.tenant_database_url, name="ingest tenant"),
        outbox=Outbox(system, "ingest", kafka.publish, sweep_after_s=settings.outbox_sweep_after_s),
        content=open_store(settings.content_store_url),
        secrets=SecretKeyring(settings.secret_keys),
        return_path_key=derived_key(settings.secret_keys[0], "return path"),
        clients=create_clients(settings),
        downloads=Downloads(allowed) if settings.attachment_fetch else None,
        lease=Lease(system, "ingest", "owner", lease_s=settings.lease_s),
    )


def consume(deps: Dependencies, handlers: Handlers) -> None:
    stream = StreamProcessor(
        MessageClosed,
        name="ingest.closed",
        handler=handlers.on_closed,
        health=deps.kafka_health,
        send=deps.kafka.publish,
        database=deps.system_database,
        outbox=deps.outbox,
        guard=DeadLetterGuard(ratio_max=deps.settings.dead_letter_ratio_max),
        linger_s=CLOSED_LINGER_S,
    )
    deps.kafka.consume(stream, group="ingest")


def create_servers(
    deps: Dependencies,
    *,
    access: AccessControl,
    acceptance: Acceptance,
    directory: DirectoryStore,
) -> list[Loop]:
    settings = deps.settings
    emails = EmailService(
        access=access,
        store=EmailStore(deps.tenant_database, return_path_key=deps.return_path_key),
        content=deps.content,
        clients=deps.clients,
        lifetime=timedelta(hours=settings.message_lifetime_hours),
    )
    allowed = frozenset(filter(None, settings.allowed_reserved_domains.split(",")))
    fetcher = create_fetcher(deps, access)
    send_handler = SendHandler(access, acceptance, reserved_allowed=allowed, fetcher=fetcher)
    rest_deps = RestDependencies(RestAccess(access), send_handler, emails, deps.clients, directory)
    http_app = HttpApp(access, send_handler, rest(rest_deps))
    origins = [one for one in settings.cors_origins.replace(" ", "").split(",") if one]
    http = HttpServer(
        with_cors(http_app, origins),
        settings.http_listen,
        trusted_proxies=settings.trusted_proxies,
        connections_max=settings.http_connections_max,
    )
    proxies = TrustedProxies(settings.trusted_proxies)
    servicer = EmailServicer(access, acceptance, emails, reserved_allowed=allowed, proxies=proxies)
    grpc = PublicGrpcServer(
        servicer,
        settings.grpc_listen,
        authenticate=servicer.authenticate,
        bodies=access.bodies,
        health=deps.health,
        connections_max=settings.grpc_connections_max,
    )
    submission = create_submission(settings, access=access, acceptance=acceptance, allowed=allowed)
    return [http.run, grpc.run, *submission]


def create_fetcher(deps: Dependencies, access: AccessControl) -> AttachmentFetcher:
    settings = deps.settings
    on = FetchPolicy("", networks(settings.attachment_fetch_allowed_networks))
    return AttachmentFetcher(
        access,
        deps.downloads,
        fetch_policy=on if settings.attachment_fetch else FETCH_DISABLED,
        emails_max=settings.attachment_fetches_max,
        timeout_s=settings.attachment_fetch_timeout_s,
    )


def create_backpressure(deps: Dependencies) -> Backpressure:
    settings = deps.settings
    return Backpressure(
        deps.outbox,
        deps.content,
        ContentUsage(deps.system_database, octets_max=int(settings.tenant_content_gb_max * 1e9)),
        messages_max=settings.outbox_messages_max,
        age_max_s=settings.outbox_age_max_s,
        free_min=settings.content_disk_free_ratio_min,
    )


def create_clients(settings: Settings) -> ServiceClients:
    def client_of(name: str) -> RpcClient:
        return RpcClient(name, getattr(settings, f"{name}_rpc_address"), settings.rpc_token)

    return ServiceClients(
        router=ServiceClient(client_of("router"), RouterServiceStub),
        delivery=ServiceClient(client_of("delivery"), DeliveryServiceStub),
        events=ServiceClient(client_of("events"), EventsServiceStub),
        shield=ServiceClient(client_of("shield"), ShieldServiceStub),
    )


def create_acceptance(
    deps: Dependencies, *, access: AccessControl, backpressure: Backpressure
) -> Acceptance:
    settings = deps.settings
    return Acceptance(
        access=access,
        store=AcceptanceStore(
            deps.system_database,
            deps.outbox,
            audit_after_s=settings.audit_open_after_s,
            idempotency_retention_s=settings.idempotency_retention_hours * 3600,
        ),
        content=deps.content,
        outbox=deps.outbox,
        backpressure=backpressure,
        kafka=deps.kafka_health,
        bulk_classifier=BulkClassifier(settings.bulk_threshold),
        retention=RetentionConfig(
            timedelta(hours=settings.message_lifetime_hours),
            timedelta(days=settings.content_retention_margin_days),
        ),
        return_path_key=deps.return_path_key,
    )


def create_maintenance_loops(
    deps: Dependencies, audits: AuditStore, backpressure: Backpressure
) -> list[Loop]:
    settings = deps.settings
    audit = create_audit(deps, audits)
    publisher = DirectoryPublisher(
        deps.lease,
        UnpublishedEntries(deps.system_database, deps.lease),
        deps.kafka,
        health=deps.kafka_health,
        every_s=settings.directory_publish_interval_s,
        check_every_s=settings.directory_check_interval_s,
    )
    retention = Retention(
        RetentionStore(deps.system_database, retention_days=settings.email_retention_days),
        deps.content,
        lease=deps.lease,
        health=deps.health,
    )
    actions = [
        (settings.outbox_check_interval_s, backpressure.run_once),
        (RETENTION_INTERVAL_S, retention.run_once),
        (MOUNT_CHECK_INTERVAL_S, retention.find_content),
    ]
    return [
        deps.kafka.run,
        deps.lease.maintain,
        publisher.run,
        publisher.check,
        *create_loops(deps.outbox.pumps(settings.outbox_sweep_after_s), deps.kafka_health),
        *create_loops([(settings.audit_interval_s, audit.run_once)], DependencyHealth()),
        *create_loops(actions, deps.health),
    ]


def create_audit(deps: Dependencies, store: AuditStore) -> Audit:
    settings = deps.settings
    first = min(settings.audit_open_after_s, settings.audit_closed_after_s)
    return Audit(
        store,
        deps.clients,
        deps.kafka,
        consumers=AuditConsumers(
            accepted=[(MessageAccepted, settings.shield_group), (MessageScreened, ROUTER_GROUP)],
            closed=[(MessageClosed, settings.events_group)],
        ),
        lease=deps.lease,
        outbox=deps.outbox,
        kafka=deps.kafka_health,
        config=AuditConfig(
            settings.audit_batch,
            recheck_after=timedelta(seconds=settings.audit_repeat_after_s),
            republish_max=ceil(settings.audit_republished_per_s_max * settings.audit_interval_s),
            record_age_min=timedelta(seconds=min(first, settings.audit_repeat_after_s)),
        ),
    )
