"""Broker and database for tests: from the environment, from Docker, or embedded.

The password of an embedded Kafka is in the environment. Fixtures: `bootstrap_servers` and
`database_url` (the owner's) for the session; `topic_prefix` and `database` (new, with all services
migrated) for a module, so that modules are isolated.
"""

import os
import tempfile
import uuid
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from cli.environment import migrate_all
from kernel.database import Database
from kernel.embedded import EmbeddedStack
from kernel.embedded.folder import free_port
from kernel.embedded.postgres import SETTINGS
from kernel.migrate import role_url
from tests.support.kafka_clients import USER
from tests.support.module_loop import ModuleLoop
from tests.support.owner import Connection, close_kept, owner_connection

DOCKER_SOCKET = Path("/var/run/docker.sock")


@dataclass(frozen=True, slots=True)
class Stack:
    """`embedded` is None for external servers, which tests must not stop."""

    bootstrap_servers: str
    database_url: str
    embedded: EmbeddedStack | None = field(default=None)


@dataclass(frozen=True, slots=True)
class FreshDatabase:
    """A new database with the schemas of all services."""

    url: str

    def tenant(self, service: str) -> str:
        return role_url(self.url, f"{service}_tenant")

    def system(self, service: str) -> str:
        return role_url(self.url, f"{service}_system")

    def connect(self) -> AbstractContextManager[Connection]:
        """Connect as the owner, which bypasses row-level security."""
        return owner_connection(self.url)


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """Kafka and PostgreSQL. A failure to start them fails the tests; none is skipped."""
    with ExitStack() as exits:
        kafka = os.environ.get("OBM_KAFKA_BOOTSTRAP_SERVERS")
        database = os.environ.get("DATABASE_URL")
        if kafka and database:
            yield Stack(kafka, database)
            return
        exits.callback(close_kept)
        found = exits.enter_context(docker_stack() if is_docker_available() else embedded_stack())
        if found.embedded and not kafka:
            environment = exits.enter_context(pytest.MonkeyPatch.context())
            for name in USER:
                environment.setenv(name, found.embedded.kafka.client_settings[name])
        yield Stack(
            kafka or found.bootstrap_servers, database or found.database_url, found.embedded
        )


@contextmanager
def embedded_stack() -> Iterator[Stack]:
    with (
        tempfile.TemporaryDirectory(prefix="obm-tests-") as folder,
        disposable(EmbeddedStack(folder)) as embedded,
    ):
        yield Stack(embedded.bootstrap_servers, embedded.database_url, embedded)


@contextmanager
def disposable(embedded: EmbeddedStack) -> Iterator[EmbeddedStack]:
    """Start the servers; kill them at the end, because nobody needs their data any more. Tests end
    processes, not the power, so PostgreSQL need not wait for the disk; nor must it be slow to guess
    the passwords of its roles."""
    embedded.postgres.settings = {**SETTINGS, "fsync": "off", "scram_iterations": "1"}
    embedded.start()
    try:
        yield embedded
    finally:
        embedded.kill()


def is_docker_available() -> bool:
    if not (os.environ.get("DOCKER_HOST") or DOCKER_SOCKET.exists()):
        return False
    import docker

    try:
        return bool(docker.from_env(timeout=5).ping())
    except docker.errors.DockerException:
        return False


@contextmanager
def docker_stack() -> Iterator[Stack]:
    """The images of compose.yaml."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated by testcontainers itself
        from testcontainers.core.container import DockerContainer
        from testcontainers.core.waiting_utils import wait_for_logs
        from testcontainers.postgres import PostgresContainer

        port = free_port()
        kafka = DockerContainer("apache/kafka:4.3.1").with_bind_ports(9092, port)
        for name, value in kafka_environment(port).items():
            kafka = kafka.with_env(name, value)
        postgres = PostgresContainer("postgres:18", username="obm", password="obm", dbname="obm")
        with kafka, postgres:
            wait_for_logs(kafka, "Kafka Server started", timeout=60)
            yield Stack(f"127.0.0.1:{port}", postgres.get_connection_url(driver=None))


def kafka_environment(port: int) -> dict[str, str]:
    settings = {
        "NODE_ID": "1",
        "PROCESS_ROLES": "broker,controller",
        "LISTENERS": "BROKER://:9092,CONTROLLER://:9093",
        "ADVERTISED_LISTENERS": f"BROKER://127.0.0.1:{port}",
        "LISTENER_SECURITY_PROTOCOL_MAP": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "INTER_BROKER_LISTENER_NAME": "BROKER",
        "CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "AUTO_CREATE_TOPICS_ENABLE": "false",
        "OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
    }
    return {f"KAFKA_{name}": value for name, value in settings.items()}


@pytest.fixture(scope="session")
def bootstrap_servers(stack: Stack) -> str:
    return stack.bootstrap_servers


@pytest.fixture(scope="session")
def database_url(stack: Stack) -> str:
    """The owner's URL of a database that must not be written to; tests use `database`."""
    return stack.database_url


@pytest.fixture(scope="module")
def topic_prefix() -> str:
    """For OBM_KAFKA_TOPIC_PREFIX: each module has its own topics and groups."""
    return f"t{uuid.uuid4().hex[:8]}."


@pytest.fixture(scope="session")
def migrated_template(database_url: str) -> Iterator[str]:
    """Migrated once; copies are fast."""
    with temporary_database(database_url) as url:
        migrate_all(url)
        yield url


@pytest.fixture(scope="module")
def database(database_url: str, migrated_template: str) -> Iterator[FreshDatabase]:
    """A migrated database for one module."""
    with temporary_database(database_url, template=migrated_template) as url:
        yield FreshDatabase(url)


@contextmanager
def temporary_database(owner_url: str, *, template: str = "") -> Iterator[str]:
    """Create a database and drop it at the end, with all its connections."""
    name = f"obm_test_{uuid.uuid4().hex[:12]}"
    copied = f" TEMPLATE {name_of(template)}" if template else ""
    url = owner_url.rpartition("/")[0] + f"/{name}"
    with owner_connection(owner_url) as owner:
        owner.execute(f"CREATE DATABASE {name}{copied}".encode())
    try:
        yield url
    finally:
        close_kept(url)
        with owner_connection(owner_url) as owner:
            owner.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def name_of(url: str) -> str:
    return url.rpartition("/")[2]


@asynccontextmanager
async def opened(
    url: str,
    **settings: Any,  # noqa: ANN401 - Database's own
) -> AsyncIterator[Database]:
    """A database closed in any case: a loop must not end with an open pool."""
    database = Database(url, **settings)
    try:
        yield database
    finally:
        await database.close()


@pytest.fixture(scope="module")
def module_loop(
    bootstrap_servers: str, database: FreshDatabase, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ModuleLoop]:
    """The tests that use it run in it. What runs there ends before the servers and the database."""
    with ModuleLoop(tmp_path_factory.mktemp("shared")) as loop:
        yield loop


def harness_fixture(
    create: Callable[[str, str, FreshDatabase, Path], object],
    *,
    scope: Literal["function", "module"],
) -> Any:  # noqa: ANN401 - pytest's fixture
    """A fixture for the harness of a service: `harness = harness_fixture(Harness, scope=…)`."""

    @pytest.fixture(scope=scope)
    def harness(
        bootstrap_servers: str,
        topic_prefix: str,
        database: FreshDatabase,
        tmp_path_factory: pytest.TempPathFactory,
    ) -> object:
        folder = tmp_path_factory.mktemp("harness")
        return create(bootstrap_servers, topic_prefix, database, folder)

    return harness


def shared_harness_fixture(
    create: Callable[..., object], *, scope: Literal["function", "module"] = "function"
) -> Any:  # noqa: ANN401 - pytest's fixture
    """The same with the loop of the module: a service may go on running in it."""

    @pytest.fixture(scope=scope)
    def harness(
        bootstrap_servers: str,
        topic_prefix: str,
        database: FreshDatabase,
        tmp_path_factory: pytest.TempPathFactory,
        module_loop: ModuleLoop,
    ) -> object:
        folder = tmp_path_factory.mktemp("harness")
        return create(bootstrap_servers, topic_prefix, database, folder, loop=module_loop)

    return harness
