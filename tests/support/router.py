"""Runs router alone: tests publish screened messages and attempt results, and receive its
events."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from aiokafka import AIOKafkaConsumer
from google.protobuf.message import Message

from contracts.delivery.v1.events_pb2 import (
    ATTEMPT_OUTCOME_DELIVERED,
    AttemptOutcome,
    BounceReceived,
    ComplaintReceived,
    DeliveryAttempted,
    Reply,
)
from contracts.events.v1.events_pb2 import RecipientUnsubscribed
from contracts.ingest.v1.directory_pb2 import Tenant
from contracts.ingest.v1.events_pb2 import PRIORITY_EXPRESS, MessageContext
from contracts.router.v1.events_pb2 import (
    CampaignsCounted,
    DeliveryAssigned,
    HeldMessageReviewed,
    MessageClosed,
    MessageDelayed,
    MessageHeld,
    SuppressionChanged,
)
from contracts.router.v1.router_service_pb2_grpc import RouterServiceStub
from contracts.shield.v1.events_pb2 import VERDICT_PASS, MessageScreened, ScoreReason, Verdict
from contracts.shield.v1.learning_pb2 import CampaignAssessed
from kernel import clock
from kernel.crypto import SecretKeyring
from kernel.database import Database
from kernel.embedded.folder import free_port
from kernel.health import DependencyHealth
from kernel.ids import uuid7_text
from kernel.kafka import Kafka
from kernel.kafka.consumer import subscriptions
from kernel.rpc import RpcClient
from kernel.service import run_services
from kernel.topics import contract_of, encode
from services.router.app import create_service
from services.router.domain.events import timestamp
from services.router.settings import Settings
from services.router.store.address_key import AddressHashKey
from tests.support.kafka_clients import client_config, options
from tests.support.keys import SECRET_KEY
from tests.support.module_loop import ModuleLoop
from tests.support.polling import WITHIN_S, until
from tests.support.records import consuming
from tests.support.stack import FreshDatabase

TOKEN = "shared"
ROUTES = """
[[route]]
domain = "*.site-a.test"
mx_hosts = ["127.0.0.5:2525"]
site = "site-a"
[[route]]
domain = "site-b.test"
mx_hosts = ["127.0.0.6:2525", "127.0.0.7:2525"]
site = "site-b"
"""
# Where nothing dies, nothing is left to sweep: only what a busy machine is still publishing.
PATIENT = {"outbox_sweep_after_s": 60.0}

PUBLISHED = (
    CampaignsCounted,
    DeliveryAssigned,
    HeldMessageReviewed,
    MessageClosed,
    MessageDelayed,
    MessageHeld,
    SuppressionChanged,
)

E_ = TypeVar("E_", bound=Message)


@dataclass
class RouterHarness:
    """router with its topics, database and directory. events: its events, in order of arrival."""

    bootstrap_servers: str
    prefix: str
    database: FreshDatabase
    folder: Path
    extra: dict[str, Any] = field(default_factory=dict)
    limits: dict[str, Any] = field(default_factory=dict)  # of the tenant
    events: list[Message] = field(default_factory=list)
    tenant_id: str = field(default_factory=lambda: str(uuid4()))
    rpc_address: str = field(default_factory=lambda: f"127.0.0.1:{free_port()}")
    kafka: Kafka | None = None  # while router is running
    loop: ModuleLoop | None = None

    @property
    def settings(self) -> Settings:
        routes = (self.folder if self.loop is None else self.loop.folder) / "routes.toml"
        routes.write_text(ROUTES)
        given: dict[str, Any] = {
            "kafka_bootstrap_servers": self.bootstrap_servers,
            "kafka_topic_prefix": self.prefix,
            "system_database_url": self.database.system("router"),
            "tenant_database_url": self.database.tenant("router"),
            "secret_keys": [SECRET_KEY],
            "rpc_token": TOKEN,
            "rpc_listen": self.rpc_address,
            "routes_file": str(routes),
            "nameservers": ("127.0.0.1:1",),
            "dns_timeout_s": 0.3,
            "ehlo": "mail.test",
            "outbox_sweep_after_s": 0.5,
            "tick_idle_interval_s": 0.2,
            "expire_interval_s": 0.1,
        }
        return Settings(**{**given, **self.extra})

    @asynccontextmanager
    async def shared(self) -> AsyncIterator["RouterHarness"]:
        """As `running`, for a test that needs no settings, no start and no stop of its own: router
        goes on running for other tests of the module, and `events` has theirs too. Mail of the
        harness's tenant waits until router has its record."""
        assert self.loop is not None
        assert not self.extra
        host = replace(self, extra=PATIENT)
        one = await self.loop.share(lambda _: "the defaults", host._run)
        self.kafka, self.events, self.rpc_address = one.kafka, one.events, one.rpc_address
        await self.publish(Tenant(tenant_id=self.tenant_id, version=1, **self.limits))
        yield self

    @asynccontextmanager
    async def running(self) -> AsyncIterator["RouterHarness"]:
        """Run router, and a consumer of its events, with the harness's tenant in the directory."""
        if self.loop is not None:
            await self.loop.end_shared()
        async with self._run():
            yield self

    @asynccontextmanager
    async def _run(self) -> AsyncIterator["RouterHarness"]:
        stop = asyncio.Event()
        async with self.connected() as kafka, self.listening():
            self.kafka = kafka
            await self.publish(Tenant(tenant_id=self.tenant_id, version=1, **self.limits))
            service = asyncio.create_task(run_services([create_service(self.settings)], stop=stop))
            try:
                yield self
            finally:
                stop.set()
                self.kafka = None
                await service

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[None]:
        """Receive router's events. The topics exist."""
        types = {
            self.prefix + name: event
            for event in PUBLISHED
            for name in contract_of(event.DESCRIPTOR).names
        }
        consumer = AIOKafkaConsumer(
            *types, **options(self.bootstrap_servers), auto_offset_reset="earliest"
        )
        await consumer.start()

        async def listen() -> None:
            async for record in consumer:
                self.events.append(types[record.topic].FromString(record.value))

        task = asyncio.create_task(listen())
        try:
            yield
        finally:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            await consumer.stop()

    @asynccontextmanager
    async def delivery_consuming(self) -> AsyncIterator[None]:
        """Consume assignments in delivery's groups, without any result."""
        async with AsyncExitStack() as consumers:
            for group, names in subscriptions("delivery", [DeliveryAssigned]).items():
                topics = [self.prefix + name for name in names]
                kafka = options(self.bootstrap_servers)
                consumer = consuming(kafka, self.prefix + group, topics)
                await consumers.enter_async_context(consumer)
            yield

    async def create_topics(self) -> None:
        async with self.connected():
            pass

    async def publish(self, *events: Message) -> None:
        async with self.connected() as kafka:
            await kafka.publish([encode(event, clock.now(), None) for event in events])

    @asynccontextmanager
    async def connected(self) -> AsyncIterator[Kafka]:
        """A client, once the topics exist: that of `running`, or one for the block."""
        if self.kafka is not None:
            yield self.kafka
            return
        kafka = self._kafka()
        try:
            await kafka.create_topics()
            yield kafka
        finally:
            await kafka.close()

    def _kafka(self) -> Kafka:
        kafka = Kafka(
            client_config(self.bootstrap_servers),
            DependencyHealth(),
            prefix=self.prefix,
            client="test",
            secret_keys=[SECRET_KEY],
        )
        kafka.declare(
            MessageScreened,
            DeliveryAttempted,
            BounceReceived,
            ComplaintReceived,
            Tenant,
            RecipientUnsubscribed,
            CampaignAssessed,
            *PUBLISHED,
        )
        return kafka

    def context(self, recipient: str = "ann@x.site-a.test", **extra: object) -> MessageContext:
        return context_of(recipient, **{"tenant_id": self.tenant_id, **extra})

    async def wait_for(self, kind: type[E_], message_id: str, count: int = 1) -> list[E_]:
        """Wait until router has published this many events of a type about a message."""
        await until(lambda: len(self.received(kind, message_id)) >= count)
        return self.received(kind, message_id)

    def received(self, kind: type[E_], message_id: str) -> list[E_]:
        events = [event for event in self.events if isinstance(event, kind)]
        return [event for event in events if getattr(event, "message_id", "") == message_id]

    @asynccontextmanager
    async def rpc(self, stub: Any = RouterServiceStub) -> AsyncIterator[tuple[Any, Any]]:  # noqa: ANN401 - any stub
        """A function that calls an RPC, with a deadline for busy machines, and a stub of
        router."""
        client = RpcClient("router", self.rpc_address, TOKEN)
        try:
            yield partial(client.call, deadline_s=60.0), stub(client.channel)
        finally:
            await client.close()

    def row(self, message_id: str, columns: str = "state") -> object:
        with self.database.connect() as connection:
            found = connection.execute(
                f"SELECT {columns} FROM router.messages WHERE message_id = %s", (message_id,)
            ).fetchone()
            return found[0] if found is not None and len(found) == 1 else found

    async def wait_for_state(self, message_id: str, expected: str) -> None:
        await until(lambda: self.row(message_id) == expected)


def context_of(recipient: str, **extra: object) -> MessageContext:
    now_s = clock.now().timestamp()
    given: dict[str, Any] = {
        "message_id": uuid7_text(),
        "email_id": uuid7_text(),
        "recipient": recipient,
        "priority": PRIORITY_EXPRESS,
        "accepted_at": timestamp(now_s),
        "due_at": timestamp(now_s),
        "expires_at": timestamp(now_s + 3600),
        "content_ref": "ref",
    }
    return MessageContext(**{**given, **extra})


def screened(
    context: MessageContext,
    verdict: "Verdict.ValueType" = VERDICT_PASS,
    *,
    reasons: Sequence[ScoreReason] = (),
) -> MessageScreened:
    return MessageScreened(
        message_id=context.message_id,
        priority=context.priority,
        context=context,
        verdict=verdict,
        reasons=reasons,
    )


def attempted(
    assigned: DeliveryAssigned,
    outcome: "AttemptOutcome.ValueType" = ATTEMPT_OUTCOME_DELIVERED,
    *,
    code: int = 250,
    text: str = "ok",
    **extra: object,
) -> DeliveryAttempted:
    given: dict[str, Any] = {
        "message_id": assigned.message_id,
        "attempt": assigned.attempt,
        "tenant_id": assigned.context.tenant_id,
        "email_id": assigned.context.email_id,
        "recipient": assigned.context.recipient,
        "outcome": outcome,
        "reply": Reply(code=code, text=text, step="end_of_data"),
        "connected": True,
        "egress_id": assigned.egress_id,
        "site": assigned.site,
        "test": assigned.context.test,
        "campaign_id": assigned.context.campaign_id,
    }
    return DeliveryAttempted(**{**given, **extra})


__all__: Sequence[str] = ("WITHIN_S", "RouterHarness", "attempted", "screened", "until")


def address_key_of(database: Database) -> AddressHashKey:
    return AddressHashKey(database, SecretKeyring([SECRET_KEY]))
