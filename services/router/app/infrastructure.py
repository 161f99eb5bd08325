"""Broker and database."""

from uuid import uuid4

from contracts.ingest.v1.directory_pb2 import Mailbox, Tenant
from kernel.crypto import SecretKeyring
from kernel.database import PLANS, Database
from kernel.health import DependencyHealth
from kernel.kafka import Kafka
from kernel.outbox import Outbox
from kernel.rpc_tls import RpcTls
from kernel.table import ReplicatedTable
from services.router.clients.egress_hosts import EgressHostClient
from services.router.clients.journal import JournalClient
from services.router.domain.retry import RetryPolicy
from services.router.settings import Settings
from services.router.store.address_key import AddressHashKey
from services.router.store.day_partitions import DayPartitions

SCHEMA = "router"


class Infrastructure:
    """Broker and database, and the components that need nothing else."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.process_id = str(uuid4())
        self.health = DependencyHealth()
        self.kafka = Kafka.from_settings(settings, self.health, client="router")
        self.system_database = Database(
            settings.system_database_url, name="router_system", session=PLANS
        )
        self.tenant_database = Database(
            settings.tenant_database_url, name="router_tenant", connections_max=4, session=PLANS
        )
        self.outbox = Outbox(
            self.system_database,
            SCHEMA,
            self.kafka.publish,
            sweep_after_s=settings.outbox_sweep_after_s,
        )
        self.tenants: ReplicatedTable[Tenant] = ReplicatedTable(Tenant, self.kafka)
        self.mailboxes: ReplicatedTable[Mailbox] = ReplicatedTable(Mailbox, self.kafka)
        self.partitions = DayPartitions()
        self.address_key = AddressHashKey(self.system_database, SecretKeyring(settings.secret_keys))
        rpc = settings.delivery_rpc_address, settings.rpc_token, RpcTls.from_settings(settings)
        self.journal = JournalClient(*rpc)
        self.egress_hosts = EgressHostClient(*rpc)
        self.retry = RetryPolicy(
            settings.retry_schedule_s, settings.greylisted_retry_s, settings.greylisted_max
        )
