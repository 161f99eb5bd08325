"""Runs delivery alone: with a tenant and its keys, stored contents, and assignments on the topic;
collects the results."""

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from google.protobuf.message import Message

from contracts.delivery.v1.events_pb2 import DeliveryAttempted
from contracts.ingest.v1.content_pb2 import Content, Header
from contracts.ingest.v1.directory_pb2 import Domain, Tenant
from contracts.ingest.v1.events_pb2 import PRIORITY_EXPRESS, MessageContext
from contracts.router.v1.events_pb2 import DeliveryAssigned, MxHost
from kernel import clock, service
from kernel.content import SealedContent, open_store
from kernel.crypto import SecretKeyring, derived_key, new_content_key, seal
from kernel.directory_mac import DirectoryMac
from kernel.embedded.folder import free_port
from kernel.ids import uuid7, uuid7_text
from kernel.topics import contract_of, encode, is_directory
from mail import verp
from services.delivery.app import create_service
from services.delivery.settings import Settings
from tests.support.kafka_clients import options
from tests.support.keys import SECRET_KEY
from tests.support.module_loop import ModuleLoop
from tests.support.polling import WITHIN_S, until
from tests.support.rsa_key import RSA_KEY
from tests.support.stack import FreshDatabase

ED_KEY = Ed25519PrivateKey.generate()


@dataclass(slots=True)
class Harness:
    """The environment of delivery: topics, database, content store, and one tenant."""

    bootstrap_servers: str
    prefix: str
    database: FreshDatabase
    folder: Path
    tenant_id: str = field(default_factory=uuid7_text)
    domain_id: str = field(default_factory=uuid7_text)
    egress_id: str = field(default_factory=uuid7_text)
    secret_key: str = SECRET_KEY
    content_key: bytes = field(default_factory=new_content_key)
    settings: dict[str, Any] = field(default_factory=dict)
    loop: ModuleLoop | None = None
    return_path_port: int = field(default_factory=free_port)

    @property
    def content_url(self) -> str:
        return (self.folder / "content").absolute().as_uri()

    @property
    def return_path_key(self) -> bytes:
        return derived_key(self.secret_key, "return path")

    def tenant(self) -> Tenant:
        key = SecretKeyring([self.secret_key]).encrypt(self.content_key)
        return Tenant(tenant_id=self.tenant_id, version=1, content_key=key)

    def domain(self) -> Domain:
        secrets = SecretKeyring([self.secret_key])
        return Domain(
            domain_id=self.domain_id,
            version=1,
            tenant_id=self.tenant_id,
            name="sender.example",
            rsa_selector="r1",
            rsa_private_key=secrets.encrypt(der(RSA_KEY)),
            ed25519_selector="e1",
            ed25519_private_key=secrets.encrypt(der(ED_KEY)),
        )

    async def store_contents(self, contents: Sequence[Content]) -> list[str]:
        """Seal and store contents; returns their references."""
        store = open_store(self.content_url)
        until = datetime.now(UTC).date() + timedelta(days=7)
        sealed = [
            seal(
                self.content_key,
                one.SerializeToString(),
                f"{self.tenant_id}/{one.email_id}".encode(),
            )
            for one in contents
        ]
        return await store.put_many([SealedContent(one, "now", until) for one in sealed])

    async def assign(
        self,
        *recipients: str,
        at: str = "",
        content: Content | None = None,
        **more: Any,  # noqa: ANN401 - fields of the contract
    ) -> list[DeliveryAssigned]:
        """One email to some recipients, assigned to the hosts `at` (host:port,…)."""
        content = content or make_content()
        [reference] = await self.store_contents([content])
        return [
            self.create_assignment(one, content, reference, at=at, **more) for one in recipients
        ]

    def create_assignment(
        self,
        recipient: str,
        content: Content,
        reference: str,
        *,
        at: str,
        hosts: Sequence[MxHost] = (),
        site: str = "",
        in_s: float = 60.0,
        test: bool = False,
        tls_enforced: bool = False,
        **more: Any,  # noqa: ANN401
    ) -> DeliveryAssigned:
        """hosts: in place of `at`."""
        context = self.create_context(recipient, content, reference)
        context.test, context.tls_enforced = test, tls_enforced
        more.setdefault("attempt", 1)
        more.setdefault("static_route", True)
        more.setdefault("egress_id", "sandbox" if test else self.egress_id)
        one = DeliveryAssigned(
            message_id=context.message_id,
            site=site or at or "nowhere",
            priority=context.priority or PRIORITY_EXPRESS,
            context=context,
            ehlo="out.sender.example",
            mx_hosts=hosts or [mx_host(host, n) for n, host in enumerate(at.split(",")) if host],
            **more,
        )
        one.not_after.FromDatetime(datetime.now(UTC) + timedelta(seconds=in_s))
        return one

    def create_context(self, recipient: str, content: Content, reference: str) -> MessageContext:
        message_id = uuid7_text()
        return MessageContext(
            message_id=message_id,
            email_id=content.email_id,
            tenant_id=self.tenant_id,
            domain_id=self.domain_id,
            recipient=recipient,
            content_ref=reference,
            content_bytes=content.ByteSize(),
            return_path=verp.return_path(
                UUID(message_id), "bounces.sender.example", key=self.return_path_key
            ).address,
        )

    async def share(self, **settings: Any) -> "Running":  # noqa: ANN401
        """As `running`, for a test that needs no start and no stop of its own: the service goes on
        running for the next tests of the module that have the same settings."""
        assert self.loop is not None
        return await self.loop.share(lambda _: settings, partial(self._run, **settings))

    @asynccontextmanager
    async def running(self, **settings: Any) -> AsyncIterator["Running"]:  # noqa: ANN401
        """Run the service on this event loop until the block ends; then stop it as SIGTERM does."""
        if self.loop is not None:
            await self.loop.end_shared()
        async with self._run(**settings) as running:
            yield running

    @asynccontextmanager
    async def _run(self, **settings: Any) -> AsyncIterator["Running"]:  # noqa: ANN401
        stop = asyncio.Event()
        await open_store(self.content_url).initialize()
        created = create_service(self.create_settings(**settings))
        task = asyncio.create_task(service.run_services([created], stop=stop))
        async with self.topics() as topics:
            await topics.publish([self.tenant(), self.domain()])
            await until(lambda: created.health.ready or task.done())
            try:
                yield Running(topics, task, created)
            finally:
                stop.set()
                await task

    def create_settings(self, **settings: Any) -> Settings:  # noqa: ANN401
        return Settings(
            **{
                "kafka_bootstrap_servers": self.bootstrap_servers,
                "kafka_topic_prefix": self.prefix,
                "content_store_url": self.content_url,
                "secret_keys": [self.secret_key],
                "rpc_token": "token",
                "system_database_url": self.database.system("delivery"),
                "tenant_database_url": self.database.tenant("delivery"),
                "rpc_listen": "127.0.0.1:0",
                "sandbox_listen": "",
                "relay_allowed_networks": ["127.0.0.0/8"],
                **self.settings,
                **settings,
            }
        )

    @asynccontextmanager
    async def topics(self) -> AsyncIterator["Topics"]:
        producer = AIOKafkaProducer(**options(self.bootstrap_servers))
        consumer = AIOKafkaConsumer(**options(self.bootstrap_servers), auto_offset_reset="earliest")
        await producer.start()
        await consumer.start()
        try:
            yield Topics(producer, consumer, self.prefix, DirectoryMac([self.secret_key]))
        finally:
            await producer.stop()
            await consumer.stop()


@dataclass(slots=True)
class Topics:
    """Publishes events, and collects the DeliveryAttempted events of delivery."""

    producer: AIOKafkaProducer
    consumer: AIOKafkaConsumer
    prefix: str
    directory: DirectoryMac
    seen: list[DeliveryAttempted] = field(default_factory=list)

    async def publish(self, events: Sequence[Message]) -> None:
        records = [encode(event, clock.now()) for event in events]
        for one in records:
            if is_directory(one.topic):
                self.directory.sign(one)
        sent = [
            await self.producer.send(
                self.prefix + one.topic, one.value, key=one.key, headers=list(one.headers.items())
            )
            for one in records
        ]
        await asyncio.gather(*sent)

    async def results(
        self, assignments: Sequence[DeliveryAssigned], *, times: int = 1, within_s: float = WITHIN_S
    ) -> list[DeliveryAttempted]:
        """All results of these assignments, once each has at least `times` of them."""
        name = self.prefix + contract_of(DeliveryAttempted.DESCRIPTOR).topic.name
        if not self.consumer.subscription():
            self.consumer.subscribe([name])
        keys = {(one.message_id, one.attempt) for one in assignments}
        with suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                while not self._is_complete(keys, times):
                    for records in (await self.consumer.getmany(timeout_ms=50)).values():
                        self.seen += [DeliveryAttempted.FromString(one.value) for one in records]
        return [one for one in self.seen if (one.message_id, one.attempt) in keys]

    def _is_complete(self, keys: set[tuple[str, int]], times: int) -> bool:
        seen = Counter((one.message_id, one.attempt) for one in self.seen)
        return all(seen[key] >= times for key in keys)


@dataclass(slots=True)
class Running:
    topics: Topics
    task: "asyncio.Task[None]"
    service: service.Service

    async def send(
        self, assignments: Sequence[DeliveryAssigned], *, within_s: float = WITHIN_S
    ) -> dict[str, DeliveryAttempted]:
        """Publish assignments, and wait for a result of each; by recipient."""
        await self.topics.publish(assignments)
        seen = await self.topics.results(assignments, within_s=within_s)
        return {one.recipient: one for one in seen}


def make_content(**more: Any) -> Content:  # noqa: ANN401 - fields of the contract
    defaults: dict[str, Any] = {
        "email_id": str(uuid7()),
        "from": "Sender <news@sender.example>",
        "to": ["friend@receiver.example"],
        "subject": "Good news",
        "text": "Hello\n.a line with a dot\n..\n.\nBye\n",
        "html": "<p>Hello</p>",
        "headers": [Header(name="X-Run-Id", value="1")],
        "date_s": int(datetime.now(UTC).timestamp()),
    }
    return Content(**(defaults | more))


def mx_host(address: str, preference: int = 10) -> MxHost:
    host, _, port = address.rpartition(":")
    return MxHost(host=host, port=int(port), preference=preference)


def der(key: RSAPrivateKey | Ed25519PrivateKey) -> bytes:
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())
