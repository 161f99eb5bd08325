"""The whole engine, five processes, for clients of the public API."""

import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from cli.environment import Ports, environment
from cli.processes import Processes
from tests.support.accounts import create_account
from tests.support.directory import CreatedAccount
from tests.support.forked_process import ForkedProcess
from tests.support.kafka_clients import client_settings
from tests.support.stack import FreshDatabase, temporary_database

DOMAIN = "shop.obm-sandbox.net"
WITHIN_S = 240.0  # it only bounds a hang: the machine may be busy


@dataclass(frozen=True, slots=True)
class Engine:
    """account: an account with a test key and the domain DOMAIN."""

    environment: Mapping[str, str]
    ports: Ports
    processes: Processes
    account: CreatedAccount

    @property
    def url(self) -> str:
        """The base URL for SDKs."""
        return f"http://127.0.0.1:{self.ports.ingest_http}/v1"


@contextmanager
def engine_of(
    folder: Path,
    *,
    bootstrap_servers: str,
    database: FreshDatabase,
    settings: Mapping[str, str],
) -> Iterator[Engine]:
    """settings: additional or changed environment variables."""
    ports = Ports.find_free()
    known = {
        **environment(
            folder,
            kafka=client_settings(bootstrap_servers),
            database_url=database.url,
            ports=ports,
        ),
        **settings,
    }
    account = create_account(known, DOMAIN, test=True)
    processes = Processes(known, folder, process=ForkedProcess)
    try:
        processes.start()
        yield Engine(known, ports, processes, account)
    finally:
        for process in processes.all():
            process.kill()


def until(holds: Callable[[], bool]) -> None:
    deadline_s = time.monotonic() + WITHIN_S
    while not holds():
        assert time.monotonic() < deadline_s, "it did not come to that in time"
        time.sleep(0.2)


@dataclass
class SharedEngine:
    """One engine for many modules, because it takes long to start."""

    bootstrap_servers: str
    database_url: str
    template: str
    folders: pytest.TempPathFactory
    running: Engine | None = None
    _exits: ExitStack = field(default_factory=ExitStack)

    def start(self) -> Engine:
        if self.running is None:
            url = self._exits.enter_context(
                temporary_database(self.database_url, template=self.template)
            )
            started = engine_of(
                self.folders.mktemp("engine"),
                bootstrap_servers=self.bootstrap_servers,
                database=FreshDatabase(url),
                settings={"OBM_KAFKA_TOPIC_PREFIX": f"t{uuid.uuid4().hex[:8]}."},
            )
            self.running = self._exits.enter_context(started)
        return self.running

    def stop(self) -> None:
        self.running = None
        self._exits.close()


SHARED = pytest.StashKey[SharedEngine]()
MODULES = pytest.StashKey[set[Path]]()


@pytest.fixture(scope="session")
def shared_engine(
    request: pytest.FixtureRequest,
    bootstrap_servers: str,
    database_url: str,
    migrated_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[SharedEngine]:
    shared = SharedEngine(bootstrap_servers, database_url, migrated_template, tmp_path_factory)
    request.config.stash[SHARED] = shared
    yield shared
    shared.stop()


@pytest.fixture(scope="module")
def engine(shared_engine: SharedEngine) -> Engine:
    """The shared engine."""
    return shared_engine.start()


@pytest.fixture(scope="module")
def own_engine(
    bootstrap_servers: str, topic_prefix: str, database: FreshDatabase,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Engine]:  # fmt: skip
    """An engine of the module, because other tests use the same names, or because it ends
    services."""
    with engine_of(
        tmp_path_factory.mktemp("engine"),
        bootstrap_servers=bootstrap_servers,
        database=database,
        settings={"OBM_KAFKA_TOPIC_PREFIX": topic_prefix},
    ) as running:
        yield running


def pytest_collection_finish(session: pytest.Session) -> None:
    session.config.stash[MODULES] = {
        item.path for item in session.items if "shared_engine" in getattr(item, "fixturenames", ())
    }


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Stop the shared engine before a module that does not use it: an idle engine uses a tenth of a
    core. The order of modules lets each worker start it once."""
    shared = item.config.stash.get(SHARED, None)
    if shared is not None and item.path not in item.config.stash[MODULES]:
        shared.stop()
