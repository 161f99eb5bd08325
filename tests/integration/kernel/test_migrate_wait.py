"""A service's pod waits for the migrations of its version, and for nothing else."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.environment import migrations
from kernel.migrate import migrate, needs_migration, role_url
from tests.support.stack import temporary_database

STEP = "revision, down_revision = {!r}, {!r}\n\n\ndef upgrade() -> None: ...\n"


def write_step(folder: Path, revision: str, down_revision: str | None) -> None:
    (folder / "versions").mkdir(parents=True, exist_ok=True)
    (folder / "env.py").write_text('from kernel.migrate import run_env\n\nrun_env("crates")\n')
    (folder / "versions" / f"{revision}.py").write_text(STEP.format(revision, down_revision))


@pytest.fixture
def url(database_url: str) -> Iterator[str]:
    with temporary_database(database_url) as url:
        yield url


def test_a_schema_is_waited_for_until_it_is_that_of_this_version(url: str, tmp_path: Path) -> None:
    system = role_url(url, "crates_system")
    write_step(tmp_path, "0001", None)
    assert needs_migration(system, "crates", tmp_path) != ""  # no role yet, or no table
    migrate(url, {"crates": tmp_path})
    assert needs_migration(system, "crates", tmp_path) == ""
    write_step(tmp_path, "0002", "0001")
    assert needs_migration(system, "crates", tmp_path) == "the schema crates is at 0001"
    migrate(url, {"crates": tmp_path})
    assert needs_migration(system, "crates", tmp_path) == ""


def test_an_older_version_does_not_wait_for_a_newer_schema(url: str, tmp_path: Path) -> None:
    older, newer = tmp_path / "older", tmp_path / "newer"
    write_step(older, "0001", None)
    write_step(newer, "0001", None)
    write_step(newer, "0002", "0001")
    migrate(url, {"crates": newer})
    assert needs_migration(role_url(url, "crates_system"), "crates", older) == ""


def obm_migrate(*arguments: str, **variables: str) -> "subprocess.Popen[str]":
    kept = {name: value for name, value in os.environ.items() if "DATABASE" not in name}
    return subprocess.Popen(
        [sys.executable, "-m", "cli", "migrate", *arguments],
        env={**kept, **variables},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_the_command_ends_when_the_migrations_have_run(url: str) -> None:
    variable = {"ROUTER_SYSTEM_DATABASE_URL": role_url(url, "router_system")}
    with obm_migrate("--wait-for", "router", **variable) as waiting:
        assert waiting.stdout is not None
        assert waiting.stdout.readline().startswith("Waiting for `obm migrate`: ")
        migrate(url, {"router": migrations()["router"]})
        assert waiting.wait(60) == 0


def test_the_command_names_what_is_missing() -> None:
    with obm_migrate("--wait-for", "router") as without_url:
        assert "ROUTER_SYSTEM_DATABASE_URL is not set" in without_url.communicate()[0]
    with obm_migrate("--wait-for", "billing") as without_schema:
        assert "'billing' has no schema" in without_schema.communicate()[0]
    assert (without_url.returncode, without_schema.returncode) == (1, 1)
