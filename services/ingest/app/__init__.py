"""Composition root: the only place where ingest is wired together."""

from datetime import timedelta
from functools import partial

from contracts.events.v1.events_pb2 import CertificateChanged
from contracts.router.v1.events_pb2 import HeldMessageReviewed, MessageClosed
from kernel.content import MOUNT_CHECK_INTERVAL_S
from kernel.database import check_roles
from kernel.days import CREATION_INTERVAL_S
from kernel.health import DependencyHealth
from kernel.processor import DeadLetterGuard, StreamProcessor
from kernel.service import Loop, Service, create_loops
from mail.reachable import parse_networks
from services.ingest.api.acceptance import Acceptance
from services.ingest.api.access import AccessControl
from services.ingest.api.administration import Administration
from services.ingest.api.administration.audit_log import AuditLogResource
from services.ingest.api.administration.directory import DirectoryResource
from services.ingest.api.administration.tenants import MaxThresholds
from services.ingest.api.brand_resolver import BrandResolver
from services.ingest.api.egress.router_client import EgressRouterClient
from services.ingest.api.emails import EmailResource
from services.ingest.api.fetcher import AttachmentFetcher
from services.ingest.api.grpc.base import RpcAccess
from services.ingest.api.grpc.emails import EmailServicer
from services.ingest.api.grpc.server import TrustedProxies
from services.ingest.api.grpc.services import public_services
from services.ingest.api.http_app import HttpApp
from services.ingest.api.request_log import RequestRecorder
from services.ingest.api.resources import create_resources
from services.ingest.api.rest import RestDependencies, create_rest_app
from services.ingest.api.rest_base import RestAccess
from services.ingest.api.senders import SenderResolver
from services.ingest.api.sending import SendHandler
from services.ingest.api.submission.listeners import create_submission, smtp_host
from services.ingest.api.tenant_slots import TenantSlots
from services.ingest.app.acceptance import create_acceptance
from services.ingest.app.dependencies import Dependencies, create_dependencies
from services.ingest.app.domains import create_domain_loops
from services.ingest.app.listeners import (
    create_certificates,
    create_grpc_server,
    create_http_servers,
)
from services.ingest.app.message_audit import create_message_audit
from services.ingest.app.resources import create_own_loops, create_own_resources
from services.ingest.app.usage import create_usage_loops
from services.ingest.domain.attachments import FETCH_DISABLED, FetchPolicy
from services.ingest.domain.body_memory import BodyMemory
from services.ingest.domain.rate_limiter import RateLimiter
from services.ingest.domain.reserved import SpecialUseDomains
from services.ingest.domain.tracking_host import LinkHosts
from services.ingest.handlers import MessageClosedHandler, on_certificate, on_reviewed
from services.ingest.loops.directory_publisher import DirectoryPublisher
from services.ingest.loops.retention import RetentionMaintenance
from services.ingest.settings import Settings
from services.ingest.store.backpressure import Backpressure
from services.ingest.store.content_usage import ContentUsage
from services.ingest.store.credential_usage import CredentialUsage
from services.ingest.store.directory import DirectoryStore, UnpublishedEntries
from services.ingest.store.directory_cache import DirectoryCache
from services.ingest.store.directory_lists import DirectoryLists
from services.ingest.store.emails import AcceptedEmails
from services.ingest.store.message_audit import MessageAuditStore
from services.ingest.store.retention import RetentionStore

CLOSED_LINGER_S = 0.2  # a close event is not urgent
RETENTION_INTERVAL_S = 3600.0
REQUEST_LOG_INTERVAL_S = 1.0


def create_service(settings: Settings) -> Service:
    """Call it inside the running event loop. Raises ConfigError."""
    deps = create_dependencies(settings)
    backpressure = create_backpressure(deps)
    directory = DirectoryStore(deps.system_database)
    directory_cache = DirectoryCache(
        directory, deps.health,
        every_s=settings.directory_read_interval_s, age_max_s=settings.directory_age_max_s,
        brands=deps.brands,
    )  # fmt: skip
    bodies = BodyMemory(settings.bodies_mb_max * 1024 * 1024)
    limiter = RateLimiter(settings.key_rate_limit_per_s, lambda: deps.replicas.count)
    brands = BrandResolver(deps.brands, directory_cache.cached_account, directory_cache.refresh)
    usage = CredentialUsage(deps.system_database, limiter.take_used)
    access = AccessControl(directory_cache, limiter, deps.secrets, bodies=bodies)
    hosts = LinkHosts(directory_cache.tracking_host, is_certified=bool(settings.acme_directory))
    senders = SenderResolver(access.sending_domain_of, brands, hosts)
    acceptance = create_acceptance(
        deps, directory_cache, access=access, backpressure=backpressure, senders=senders
    )
    audits = create_audit_store(deps)
    register_consumers(deps, MessageClosedHandler(audits))
    return Service(
        "ingest",
        loops=[
            partial(check_roles, (deps.system_database, deps.tenant_database), deps.health),
            *create_servers(
                deps, directory, access=access, acceptance=acceptance, brands=brands, hosts=hosts
            ),
            directory_cache.run,
            *create_loops([(settings.key_usage_interval_s, usage.run_once)], DependencyHealth()),
            *create_maintenance_loops(deps, audits, backpressure),
            *create_domain_loops(deps, directory),
            *create_own_loops(deps, directory_cache),
        ],
        close=deps.close,
        health=deps.health,
        drain=acceptance.wait_idle,
        shutdown_timeout_s=settings.shutdown_timeout_s,
        health_listen=settings.health_listen,
    )


def create_audit_store(deps: Dependencies) -> MessageAuditStore:
    return MessageAuditStore(
        deps.system_database,
        closed_after_s=deps.settings.audit_closed_after_s,
        return_path_key=deps.return_path_key,
    )


def register_consumers(deps: Dependencies, closed: MessageClosedHandler) -> None:
    stream = StreamProcessor(
        MessageClosed,
        name="ingest.closed",
        handler=closed.on_closed,
        health=deps.kafka_health,
        send=deps.kafka.publish,
        database=deps.system_database,
        outbox=deps.outbox,
        guard=DeadLetterGuard(ratio_max=deps.settings.dead_letter_ratio_max),
        linger_s=CLOSED_LINGER_S,
    )
    deps.kafka.consume(stream, group="ingest")
    reviews = StreamProcessor(
        HeldMessageReviewed,
        name="ingest.reviews",
        handler=on_reviewed,
        health=deps.kafka_health,
        send=deps.kafka.publish,
        database=deps.system_database,
        outbox=deps.outbox,
    )
    deps.kafka.consume(reviews, group="ingest-reviews")
    if not deps.settings.acme_directory:
        return
    certificates = StreamProcessor(
        CertificateChanged,
        name="ingest.certificates",
        handler=on_certificate,
        health=deps.kafka_health,
        send=deps.kafka.publish,
        database=deps.system_database,
        outbox=deps.outbox,
    )
    deps.kafka.consume(certificates, group="ingest-certificates")


def create_servers(
    deps: Dependencies,
    directory: DirectoryStore,
    *,
    access: AccessControl,
    acceptance: Acceptance,
    brands: BrandResolver,
    hosts: LinkHosts,
) -> list[Loop]:
    settings, emails = deps.settings, create_emails(deps, access)
    domains, fetcher = create_recipient_domains(deps), create_fetcher(deps, access, brands)
    send_handler = SendHandler(acceptance, recipient_domains=domains, fetcher=fetcher)
    own = create_own_resources(deps, emails, directory, access=access, brands=brands, hosts=hosts)
    resources = create_resources(
        deps.clients, emails,
        administration=create_administration(deps, directory, brands),
        own=own, requests_per_s=settings.key_rate_limit_per_s,
        slots=TenantSlots(settings.event_streams_max, settings.tenant_event_streams_max),
    )  # fmt: skip
    rest = create_rest_app(RestDependencies(RestAccess(access), send_handler, resources))
    recorder = RequestRecorder(deps.request_log.add)
    app = HttpApp(access, send_handler, rest, brands=brands, recorder=recorder)
    rpc_access = create_rpc_access(deps, access, brands, recorder=recorder)
    servicer = EmailServicer(
        rpc_access, resources, acceptance=acceptance, recipient_domains=domains
    )
    services = public_services(rpc_access, servicer, resources)
    certificates = create_certificates(deps)
    submission = create_submission(
        settings, certificates,
        brands=brands, access=access, acceptance=acceptance, recipient_domains=domains,
    )  # fmt: skip
    return [
        *create_http_servers(deps, app, certificates),
        create_grpc_server(deps, services, rpc_access, certificates=certificates).run,
        *submission,
        resources.email_events.run,
        *([certificates.watch] if certificates is not None else []),
    ]


def create_rpc_access(
    deps: Dependencies, access: AccessControl, brands: BrandResolver, *, recorder: RequestRecorder
) -> RpcAccess:
    proxies = TrustedProxies(deps.settings.trusted_proxies)
    return RpcAccess(access, proxies, brands, recorder=recorder)


def create_emails(deps: Dependencies, access: AccessControl) -> EmailResource:
    return EmailResource(
        access=access,
        store=AcceptedEmails(deps.tenant_database, return_path_key=deps.return_path_key),
        content=deps.content,
        clients=deps.clients,
        lifetime=timedelta(hours=deps.settings.message_lifetime_hours),
    )


def create_recipient_domains(deps: Dependencies) -> SpecialUseDomains:
    reserved = filter(None, deps.settings.allowed_reserved_domains.split(","))
    return SpecialUseDomains(frozenset(reserved), deps.brands.sandbox_domains)


def create_administration(
    deps: Dependencies, directory: DirectoryStore, brands: BrandResolver
) -> Administration:
    lists = DirectoryLists(deps.system_database, deps.tenant_database)
    return Administration(
        DirectoryResource(directory, lists),
        AuditLogResource(lists, deps.system_database),
        outbox=deps.outbox,
        secrets=deps.secrets,
        brands=brands,
        prices=deps.prices,
        mailboxes_max=deps.settings.tenant_mailboxes_max,
        max_thresholds=MaxThresholds(deps.settings.hold_score_max, deps.settings.block_score_max),
        resume_waiting=EgressRouterClient(deps.clients).resume_waiting,
        smtp=smtp_host(deps.settings, deps.brands),
    )


def create_fetcher(
    deps: Dependencies, access: AccessControl, brands: BrandResolver
) -> AttachmentFetcher:
    settings = deps.settings
    on = FetchPolicy("", parse_networks(settings.attachment_fetch_allowed_networks))
    return AttachmentFetcher(
        access,
        deps.downloads,
        brands=brands,
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


def create_maintenance_loops(
    deps: Dependencies, audits: MessageAuditStore, backpressure: Backpressure
) -> list[Loop]:
    settings = deps.settings
    audit = create_message_audit(deps, audits)
    publisher = DirectoryPublisher(
        deps.lease,
        UnpublishedEntries(deps.system_database, deps.lease),
        deps.kafka,
        health=deps.kafka_health,
        every_s=settings.directory_publish_interval_s,
        check_every_s=settings.directory_check_interval_s,
    )
    retention = RetentionMaintenance(
        RetentionStore(deps.system_database, retention_days=settings.email_retention_days),
        deps.content,
        lease=deps.lease,
        health=deps.health,
    )
    actions = [
        (settings.outbox_check_interval_s, backpressure.run_once),
        (CREATION_INTERVAL_S, retention.create_partitions),
        (RETENTION_INTERVAL_S, retention.run_once),
        (MOUNT_CHECK_INTERVAL_S, retention.initialize_content_store),
    ]
    return [
        deps.kafka.run,
        deps.lease.maintain,
        deps.replicas.run,
        publisher.run,
        publisher.check,
        *create_loops(deps.outbox.loop_actions(settings.outbox_sweep_after_s), deps.kafka_health),
        *create_loops([(REQUEST_LOG_INTERVAL_S, deps.request_log.write)], DependencyHealth()),
        *create_loops([(settings.audit_interval_s, audit.run_once)], DependencyHealth()),
        *create_loops(actions, deps.health),
        *create_usage_loops(deps),
    ]
