"""Objects that several parts of ingest share."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from contracts.delivery.v1.delivery_service_pb2_grpc import DeliveryServiceStub
from contracts.events.v1.events_service_pb2_grpc import EventsServiceStub
from contracts.ingest.v1.events_pb2 import ApiKeyRotated, DomainChanged, MessageAccepted
from contracts.kernel.v1.status_service_pb2_grpc import StatusServiceStub
from contracts.router.v1.egress_service_pb2_grpc import EgressServiceStub
from contracts.router.v1.held_service_pb2_grpc import HeldServiceStub
from contracts.router.v1.policy_service_pb2_grpc import PolicyServiceStub
from contracts.router.v1.router_service_pb2_grpc import RouterServiceStub
from contracts.shield.v1.shield_service_pb2_grpc import ShieldServiceStub
from kernel.addresses import AddressResolver
from kernel.brand import Brands, read_brands
from kernel.content import ContentStore, open_store
from kernel.crypto import SecretKeyring, derived_key
from kernel.database import PLANS, Database
from kernel.downloads import Downloader
from kernel.health import DependencyHealth
from kernel.kafka import Kafka
from kernel.lease import Lease
from kernel.outbox import Outbox
from kernel.prices import PriceBook, read_prices
from kernel.replicas import ReplicaCounter
from kernel.rpc import RpcClient
from kernel.rpc_tls import RpcTls
from kernel.service import close_in_order
from mail.reachable import address_policy, parse_networks
from services.ingest.clients import ServiceClient, ServiceClients, Statuses
from services.ingest.clients.billing import BillingClient
from services.ingest.domain.usage_export import URLS
from services.ingest.settings import Settings
from services.ingest.store.directory import KINDS as DIRECTORY
from services.ingest.store.directory import DirectoryStore
from services.ingest.store.directory_lists import DirectoryLists
from services.ingest.store.domain_keys import DomainKeyring, InstallationHosts
from services.ingest.store.domains import DomainStore
from services.ingest.store.request_log import RequestLogReader, RequestLogWriter

WITHOUT_UNSUBSCRIBE_HOST = (
    "broadcasts have no link to unsubscribe. Before you send newsletters, set unsubscribe_host in "
    "the file OBM_BRANDS_FILE, see docs/run-it-for-real.md. Other mail does not need it."
)

logger = logging.getLogger(__name__)

REPORTS = "domain reports"


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
    domain_keys: DomainKeyring
    clients: ServiceClients
    statuses: Statuses
    downloads: Downloader | None
    lease: Lease
    replicas: ReplicaCounter
    brands: Brands
    prices: PriceBook
    request_log: RequestLogWriter
    billing: BillingClient | None

    @property
    def request_list(self) -> RequestLogReader:
        return RequestLogReader(DirectoryLists(self.system_database, self.tenant_database))

    def domain_store(self, directory: DirectoryStore) -> DomainStore:
        return DomainStore(self.system_database, directory, self.outbox)

    async def close(self) -> None:
        await close_in_order(
            self.outbox.drain,
            self.request_log.close,
            self.lease.release,
            self.replicas.leave,
            self.kafka.close,
            self.clients.close,
            *(one.close for one in self.statuses.values()),
            *([self.downloads.close] if self.downloads is not None else []),
            *([self.billing.close] if self.billing is not None else []),
            self.tenant_database.close,
            self.system_database.close,
        )


def create_dependencies(settings: Settings) -> Dependencies:
    kafka_health = DependencyHealth()
    kafka = Kafka.from_settings(settings, kafka_health, client="ingest")
    kafka.declare(MessageAccepted, DomainChanged, ApiKeyRotated, *DIRECTORY)
    database = partial(Database, connections_max=settings.database_connections_max, session=PLANS)
    system = database(settings.system_database_url, name="ingest system")
    secrets, brands = SecretKeyring(settings.secret_keys), read_brands(settings.brands_file)
    if not any(one.unsubscribe_host or one.tracking_host for one in brands):
        logger.warning("brands.without_unsubscribe_host: %s", WITHOUT_UNSUBSCRIBE_HOST)
    hosts = InstallationHosts.of(settings.bounce_mx, settings.spf_include)
    return Dependencies(
        settings=settings,
        health=DependencyHealth(),
        kafka_health=kafka_health,
        kafka=kafka,
        system_database=system,
        tenant_database=database(settings.tenant_database_url, name="ingest tenant"),
        outbox=Outbox(system, "ingest", kafka.publish, sweep_after_s=settings.outbox_sweep_after_s),
        content=open_store(settings.content_store_url),
        secrets=secrets,
        return_path_key=derived_key(settings.secret_keys[0], "return path"),
        domain_keys=DomainKeyring(
            secrets, hosts, brands, report_key=derived_key(settings.secret_keys[0], REPORTS)
        ),
        clients=create_clients(settings),
        statuses=create_statuses(settings),
        downloads=create_downloads(settings) if settings.attachment_fetch else None,
        lease=Lease(system, "ingest", "owner", lease_s=settings.lease_s),
        replicas=ReplicaCounter(system, "ingest"),
        brands=brands,
        prices=read_prices(settings.prices_file),
        request_log=RequestLogWriter(system),
        billing=create_billing(settings),
    )


def create_downloads(settings: Settings) -> Downloader:
    allowed = parse_networks(settings.attachment_fetch_allowed_networks)
    return Downloader(AddressResolver(address_policy(allowed)))


def create_billing(settings: Settings) -> BillingClient | None:
    """None if usage is not exported."""
    if not (system := settings.usage_export):
        return None
    return BillingClient(
        system, settings.usage_export_url or URLS[system], settings.usage_export_key
    )


def rpc_clients(settings: Settings) -> Callable[[str], RpcClient]:
    """Makes a client of the service with this name."""
    tls = RpcTls.from_settings(settings)

    def client_of(name: str) -> RpcClient:
        address = getattr(settings, f"{name}_rpc_address")
        return RpcClient(name, address, settings.rpc_token, tls=tls)

    return client_of


def create_statuses(settings: Settings) -> "Statuses":
    client_of = rpc_clients(settings)
    names = ("router", "delivery", "events", "shield")
    return {name: ServiceClient(client_of(name), StatusServiceStub) for name in names}


def create_clients(settings: Settings) -> ServiceClients:
    client_of = rpc_clients(settings)
    return ServiceClients(
        router=ServiceClient(client_of("router"), RouterServiceStub),
        delivery=ServiceClient(client_of("delivery"), DeliveryServiceStub),
        events=ServiceClient(client_of("events"), EventsServiceStub),
        shield=ServiceClient(client_of("shield"), ShieldServiceStub),
        policies=ServiceClient(client_of("router"), PolicyServiceStub),
        egress=ServiceClient(client_of("router"), EgressServiceStub),
        held=ServiceClient(client_of("router"), HeldServiceStub),
    )
