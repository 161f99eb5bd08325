"""`obm up` and `obm migrate` in a shell."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psycopg

from tests.support.kafka_clients import USER
from tests.support.stack import temporary_database

OBM = [sys.executable, "-m", "cli"]


def test_up_prints_the_environment_and_stops_cleanly_on_ctrl_c(tmp_path: Path) -> None:
    up = subprocess.Popen([*OBM, "up", "--data", str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert up.stdout
    lines = [up.stdout.readline().strip() for _ in range(2 + len(USER))]
    exported = dict(line.removeprefix("export ").split("=", 1) for line in lines)
    assert exported.keys() == {"DATABASE_URL", *USER, "OBM_KAFKA_BOOTSTRAP_SERVERS"}
    with psycopg.connect(exported["DATABASE_URL"]) as owner:
        assert owner.execute("SELECT 1").fetchone() == (1,)
    up.send_signal(signal.SIGINT)
    assert up.wait() == 0
    up.stdout.close()
    assert "shut down" in (tmp_path / "postgres.log").read_text()


def test_a_folder_that_cannot_be_created_is_a_config_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    up = obm("up", "--data", str(tmp_path / "file" / "data"))
    assert up.returncode == 1
    assert up.stderr.startswith("obm: The data folder ")
    assert up.stderr.count("\n") == 1


def test_migrate_brings_a_new_database_up_to_date(database_url: str) -> None:
    with temporary_database(database_url) as url:
        assert obm("migrate", DATABASE_URL=url).returncode == 0


def test_migrate_without_database_url_is_a_config_error() -> None:
    migrated = obm("migrate", DATABASE_URL="")
    assert migrated.returncode == 1
    assert migrated.stderr.startswith("obm: DATABASE_URL is not set")


def obm(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*OBM, *arguments],
        capture_output=True,
        check=False,
        env={**os.environ, **environment},
        text=True,
    )
