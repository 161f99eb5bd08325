"""ingest alone: its HTTP API, its events, and replacements for other services."""

import asyncio
import io
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from google.protobuf.message import Message

from cli.environment import Ports
from contracts.events.v1.events_service_pb2_grpc import (
    EventsServiceServicer,
    add_EventsServiceServicer_to_server,
)
from contracts.ingest.v1.directory_pb2 import Domain
from contracts.ingest.v1.events_pb2 import MessageAccepted
from contracts.router.v1.router_service_pb2_grpc import (
    RouterServiceServicer,
    add_RouterServiceServicer_to_server,
)
from kernel import clock
from kernel.content import open_store
from kernel.health import DependencyHealth
from kernel.kafka import Kafka
from kernel.kafka.consumer import subscriptions
from kernel.rpc import RpcServer
from kernel.service import Service, run_services
from kernel.topics import contract_of, encode
from services.ingest.app import create_service
from services.ingest.settings import Settings
from services.ingest.store.directory import TABLES
from tests.support.directory import DirectoryAdmin, open_directory
from tests.support.kafka_clients import client_config, options
from tests.support.keys import SECRET_KEY
from tests.support.module_loop import ModuleLoop
from tests.support.polling import until
from tests.support.records import consuming, records_of
from tests.support.stack import FreshDatabase
from tests.support.submission import certificate_of

TOKEN = "shared"
DOMAIN = "shop.obm-sandbox.net"

# Of the outbox, and versions of the directory's entries, which have a publisher of their own.
UNPUBLISHED = " UNION ALL ".join(
    [
        "SELECT 'outbox', id::text, 0 FROM ingest.outbox",
        *(
            f"SELECT '{table}', id::text, version FROM {table} WHERE published_version < version"
            for table in TABLES.values()
        ),
    ]
)

E_ = TypeVar("E_", bound=Message)


@dataclass
class Response:
    status: int
    headers: dict[str, str]
    json: Any
    raw: bytes


@dataclass
class IngestHarness:
    """ingest with its broker, its database and replacements for other services."""

    bootstrap_servers: str
    prefix: str
    database: FreshDatabase
    folder: Path
    extra: dict[str, Any] = field(default_factory=dict)
    ports: Ports = field(default_factory=Ports.find_free)
    secret_key: str = SECRET_KEY
    router: RouterServiceServicer | None = None
    events: EventsServiceServicer | None = None
    key: str = ""
    tenant_id: str = ""
    loop: ModuleLoop | None = None

    @property
    def content_store_url(self) -> str:
        folder = self.folder if self.loop is None else self.loop.folder
        return (folder / "content").as_uri()

    def settings(self, ports: Ports | None = None) -> Settings:
        ports = ports or self.ports
        at = "127.0.0.1:{}".format
        given: dict[str, Any] = {
            "kafka_bootstrap_servers": self.bootstrap_servers,
            "kafka_topic_prefix": self.prefix,
            "system_database_url": self.database.system("ingest"),
            "tenant_database_url": self.database.tenant("ingest"),
            "content_store_url": self.content_store_url,
            "secret_keys": [self.secret_key],
            "rpc_token": TOKEN,
            "http_listen": at(ports.ingest_http),
            "grpc_listen": at(ports.ingest_grpc),
            "router_rpc_address": at(self.ports.router_rpc),
            "events_rpc_address": at(self.ports.events_rpc),
            "delivery_rpc_address": at(self.ports.delivery_rpc),
            "shield_rpc_address": at(self.ports.shield_rpc),
            "outbox_sweep_after_s": 0.5,
            "directory_publish_interval_s": 0.1,
            "directory_check_interval_s": 0.5,
            "audit_interval_s": 0.2,
        }
        if "tls_certificate" in self.extra:
            given["submission_listen"] = at(ports.submission)
            given["submission_tls_listen"] = at(ports.submission_tls)
        return Settings(**{**given, **self.extra})

    def serve_submission(self) -> None:
        """Listen for SMTP, with a certificate; call it before `running` or `shared`."""
        self.extra |= certificate_of(self.folder if self.loop is None else self.loop.folder)

    @asynccontextmanager
    async def directory(self) -> AsyncIterator[DirectoryAdmin]:
        async with open_directory(self.settings()) as directory:
            yield directory

    async def sign_up(self, *, test: bool = True, domain: str = DOMAIN) -> str:
        """Create an account whose key the harness uses from here on; it takes over the domain."""
        async with self.directory() as directory:
            for existing in await directory.store.find_by_id_or_name(Domain, domain):
                await directory.remove(Domain, existing.domain_id)
            made = await directory.add_complete_account(domain, test=test)
        self.key, self.tenant_id = made.api_key, made.tenant_id
        return made.api_key

    async def operator_key(self) -> str:
        async with self.directory() as directory:
            secret, _ = await directory.add_operator_key(name="the tests")
        return secret

    async def make(self, path: str, key: str, **fields: object) -> Any:  # noqa: ANN401 - JSON
        """Create an object by the API. Returns its JSON."""
        made = await self.request("POST", path, fields, key=key)
        assert made.status == 201, made.raw
        return made.json

    async def make_account(self, operator: str, name: str) -> tuple[Any, str]:
        """An account, and a key of it, made by the API."""
        account = await self.make("/v1/accounts", operator, name=name)
        key = await self.make(
            "/v1/api-keys", operator, name=name, kind="account", account_id=account["id"]
        )
        assert (key["kind"], key["account_id"], key["tenant_id"]) == (
            "account",
            account["id"],
            None,
        )
        return account, key["token"]

    @asynccontextmanager
    async def shared(self) -> AsyncIterator["IngestHarness"]:
        """As `running`, for a test that needs no start and no stop of its own, and replaces no
        other service: the replica goes on running for other tests of the module."""
        assert self.loop is not None
        assert self._replacements() == []
        await self.loop.share(self._settings_at, self._run)
        yield self

    def _settings_at(self, ports: Ports) -> Settings:
        self.ports = ports
        return self.settings()

    @asynccontextmanager
    async def running(self, *more: Ports) -> AsyncIterator["IngestHarness"]:
        """Run one replica, and one more for each set of ports, with replacements for other
        services; they stop at the end."""
        if self.loop is not None:
            await self.loop.end_shared()
        async with self._run(*more):
            yield self

    @asynccontextmanager
    async def _run(self, *more: Ports) -> AsyncIterator["IngestHarness"]:
        async with self.serving_others():
            await open_store(self.settings().content_store_url).initialize()
            stop = asyncio.Event()
            services = [create_service(self.settings(ports)) for ports in (self.ports, *more)]
            engine = asyncio.create_task(run_services(services, stop=stop))
            try:
                await until(lambda: _ready(services, engine))
                yield self
            finally:
                stop.set()
                await engine

    @asynccontextmanager
    async def serving_others(self) -> AsyncIterator[None]:
        """Run the replacements for other services."""
        tasks = [asyncio.create_task(server.run()) for server in self._replacements()]
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
            # gRPC's poller serves all loops of a process: pending work for this one must run first.
            await asyncio.sleep(0.1)

    def _replacements(self) -> list[RpcServer]:
        servers = []
        if self.router is not None:
            server = RpcServer(f"127.0.0.1:{self.ports.router_rpc}", TOKEN)
            add_RouterServiceServicer_to_server(self.router, server.grpc)
            servers.append(server)
        if self.events is not None:
            server = RpcServer(f"127.0.0.1:{self.ports.events_rpc}", TOKEN)
            add_EventsServiceServicer_to_server(self.events, server.grpc)
            servers.append(server)
        return servers

    async def request(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        key: str | None = None,
        headers: dict[str, str] | None = None,
        port: int | None = None,
    ) -> Response:
        """Send a request with the harness's key."""
        fields = {"Authorization": f"Bearer {self.key if key is None else key}"}
        if body is not None:
            fields["Content-Type"] = "application/json"
        fields |= headers or {}
        url = f"http://127.0.0.1:{port or self.ports.ingest_http}{path}"
        async with (
            aiohttp.ClientSession() as http,
            http.request(method, url, data=_bytes(body), headers=fields) as got,
        ):
            raw = await got.read()
            is_json = got.content_type.endswith("json")
            return Response(
                got.status,
                {name.lower(): value for name, value in got.headers.items()},
                await got.json() if is_json else None,
                raw,
            )

    async def send(self, **changes: Any) -> Response:  # noqa: ANN401 - JSON
        headers = changes.pop("http_headers", None)
        return await self.request("POST", "/v1/emails", email(**changes), headers=headers)

    async def read_events(self, event: type[E_]) -> list[E_]:
        """All events of a type, other tests' too, once what is committed now is published."""
        committed = self._unpublished()

        async def is_published() -> bool:
            return committed.isdisjoint(self._unpublished())

        await until(is_published)
        topics = (self.prefix + name for name in contract_of(event.DESCRIPTOR).names)
        found = await records_of(options(self.bootstrap_servers), *topics)
        return [event.FromString(one.value) for one in found]

    def _unpublished(self) -> set[object]:
        with self.database.connect() as owner:
            return {*owner.execute(UNPUBLISHED.encode())}

    async def accepted(self, email_id: str, count: int = 1) -> list[MessageAccepted]:
        """The events of an email, once this many are published."""
        found: list[MessageAccepted] = []

        async def are_published() -> bool:
            published = await self.read_events(MessageAccepted)
            found[:] = [one for one in published if one.context.email_id == email_id]
            return len(found) >= count

        await until(are_published)
        return found

    @asynccontextmanager
    async def reader(self, group: str, event: type[Message]) -> AsyncIterator[None]:
        """Consumers of all records, from the beginning until the end of the block."""
        async with AsyncExitStack() as readers:
            for own, names in subscriptions(group, [event]).items():
                topics = [self.prefix + name for name in names]
                consumer = consuming(options(self.bootstrap_servers), self.prefix + own, topics)
                await readers.enter_async_context(consumer)
            yield

    async def publish(self, *events: Message) -> None:
        """Publish events as another service does."""
        kafka = Kafka(
            client_config(self.bootstrap_servers),
            DependencyHealth(),
            prefix=self.prefix,
            secret_keys=[self.secret_key],
        )
        kafka.declare(*{type(one) for one in events})
        await kafka.create_topics()
        now = clock.now()
        await kafka.publish([encode(one, now) for one in events])
        await kafka.close()


async def _ready(services: Sequence[Service], engine: "asyncio.Task[None]") -> bool:
    if engine.done():
        engine.result()
    return all(service.health.ready for service in services)


def _bytes(body: object) -> io.BytesIO | None:
    if body is None:
        return None
    return io.BytesIO(body if isinstance(body, bytes) else json.dumps(body).encode())


def email(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    made = {
        "from": f"Shop <hello@{DOMAIN}>",
        "to": "delivered@obm-sandbox.net",
        "subject": "Your order",
        "text": "It is on its way.",
        **changes,
    }
    return {name: value for name, value in made.items() if value is not None}
