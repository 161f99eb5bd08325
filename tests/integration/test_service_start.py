"""A service that cannot start says why, in one line."""

import os
import socket
from pathlib import Path

import pytest

from cli.environment import Ports, environment
from tests.support.forked_process import Fork
from tests.support.kafka_clients import client_settings
from tests.support.stack import FreshDatabase


@pytest.fixture
def settings(bootstrap_servers: str, database: FreshDatabase, tmp_path: Path) -> dict[str, str]:
    return environment(
        tmp_path,
        kafka=client_settings(bootstrap_servers),
        database_url=database.url,
        ports=Ports.find_free(),
    )


def refused(service: str, settings: dict[str, str], log: Path) -> str:
    environment = {**os.environ, **settings, "OBM_LOG_LEVEL": "CRITICAL"}
    code = Fork(f"services.{service}", environment, log).wait()
    output = log.read_text()
    assert code == 2, output
    assert "Traceback" not in output
    return output.splitlines()[-1]


@pytest.mark.parametrize("role", ["system", "tenant"])
def test_a_service_refuses_to_run_as_the_owner_of_the_tables(
    settings: dict[str, str], database: FreshDatabase, tmp_path: Path, role: str
) -> None:
    settings[f"ROUTER_{role.upper()}_DATABASE_URL"] = database.url

    assert "bypasses row-level security" in refused("router", settings, tmp_path / "log")


@pytest.mark.parametrize(
    "name", ["INGEST_GRPC_LISTEN", "INGEST_HTTP_LISTEN", "INGEST_HEALTH_LISTEN"]
)
def test_a_taken_port_is_reported(settings: dict[str, str], tmp_path: Path, name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as occupant:
        port = str(occupant.getsockname()[1])
        settings[name] = f"127.0.0.1:{port}"

        assert port in refused("ingest", settings, tmp_path / "log")
