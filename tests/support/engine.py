"""The whole engine, five processes, for clients of the public API."""

import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from cli.environment import Ports, environment
from cli.processes import Processes
from tests.support.accounts import create_account
from tests.support.directory import CreatedAccount
from tests.support.forked_process import ForkedProcess
from tests.support.stack import FreshDatabase, temporary_database

DOMAIN = "shop.obm-sandbox.net"


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
            kafka_bootstrap_servers=bootstrap_servers,
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
        processes.stop()


@pytest.fixture(scope="session")
def engine(
    bootstrap_servers: str,
    database_url: str,
    migrated_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Engine]:
    """One engine for all clients, because it takes long to start."""
    with (
        temporary_database(database_url, template=migrated_template) as url,
        engine_of(
            tmp_path_factory.mktemp("engine"),
            bootstrap_servers=bootstrap_servers,
            database=FreshDatabase(url),
            settings={"OBM_KAFKA_TOPIC_PREFIX": f"t{uuid.uuid4().hex[:8]}."},
        ) as running,
    ):
        yield running
