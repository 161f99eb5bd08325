"""A service that cannot start says why, in one line."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from cli.environment import Ports, environment
from tests.support.stack import FreshDatabase


@pytest.fixture
def settings(bootstrap_servers: str, database: FreshDatabase, tmp_path: Path) -> dict[str, str]:
    return environment(
        tmp_path,
        kafka_bootstrap_servers=bootstrap_servers,
        database_url=database.url,
        ports=Ports.find_free(),
    )


def refused(service: str, settings: dict[str, str]) -> str:
    ran = subprocess.run(
        [sys.executable, "-m", f"services.{service}"],
        capture_output=True, check=False, text=True,
        env={**os.environ, **settings, "OBM_LOG_LEVEL": "CRITICAL"},
    )  # fmt: skip
    assert ran.returncode == 2, ran.stderr
    assert "Traceback" not in ran.stderr
    return ran.stderr.splitlines()[-1]


@pytest.mark.parametrize("role", ["system", "tenant"])
def test_a_service_refuses_to_run_as_the_owner_of_the_tables(
    settings: dict[str, str], database: FreshDatabase, role: str
) -> None:
    settings[f"ROUTER_{role.upper()}_DATABASE_URL"] = database.url

    assert "bypasses row-level security" in refused("router", settings)


@pytest.mark.parametrize(
    "name", ["INGEST_GRPC_LISTEN", "INGEST_HTTP_LISTEN", "INGEST_HEALTH_LISTEN"]
)
def test_a_taken_port_is_reported(settings: dict[str, str], name: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as occupant:
        port = str(occupant.getsockname()[1])
        settings[name] = f"127.0.0.1:{port}"

        assert port in refused("ingest", settings)
