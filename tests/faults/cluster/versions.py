"""Another version of the engine, and a rolling upgrade from it."""

import os
import subprocess
import tarfile
from collections.abc import Mapping
from pathlib import Path

from cli.environment import migrate_all
from cli.processes import Process
from tests.faults.cluster.recovery import measured
from tests.faults.cluster.world import ROOT, Replicas, code_of
from tests.faults.world import World

MIGRATIONS = ":(glob)services/*/migrations/versions/*"


def old_revision() -> str:
    """OBM_FAULTS_OLD, or the last commit without the newest migration: its code has never seen the
    schema that it must work with after the upgrade."""
    if given := os.environ.get("OBM_FAULTS_OLD"):
        return given
    return git("log", "-1", "--format=%h", "--", MIGRATIONS) + "^"


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=ROOT, check=True, capture_output=True, text=True)
    return done.stdout.strip()


def check_out(revision: str, folder: Path) -> Path:
    """The code of a revision, in a new folder."""
    archive = folder.with_suffix(".tar")
    git("archive", f"--output={archive}", revision)
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    archive.unlink()
    return folder


def old_version(folder: Path) -> Mapping[str, str]:
    return code_of(check_out(old_revision(), folder / "old"))


def rolling_upgrade(world: World, times: int) -> None:
    """From the old version to this one and back, one process after the other, the migrations
    first. They are not undone: the old version goes on with the new schema."""
    old = code_of(world.folder / "old")
    for _ in range(times):
        with measured(world, f"upgraded from {old_revision()}"):
            migrate_all(world.stack.database_url)
            replace_all(world, {})
        with measured(world, "rolled back"):
            replace_all(world, old)


def replace_all(world: World, code: Mapping[str, str]) -> None:
    """A node runs one version, and the other node the other, for a while."""
    assert isinstance(world.processes, Replicas)
    for turn, processes in enumerate(world.processes.by_node.values()):
        for process in processes:
            replace(process, code)
        world.faults += 1
        world.pause(turn)


def replace(process: Process, code: Mapping[str, str]) -> None:
    process.terminate()
    for name in code_of(ROOT):
        process.environment.pop(name, None)
    process.environment |= code
    process.start()
    process.await_ready()
