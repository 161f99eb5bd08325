"""Restores: the database as it was some time ago while Kafka has gone on, and the reverse."""

import os
import random
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from cli.main import app
from contracts.router.v1.events_pb2 import MessageClosed
from kernel.embedded import EmbeddedStack
from kernel.embedded.postgres import programs
from services.events.domain.log_event import EventKind
from tests.faults.world import World

AGE_MIN_S = 15.0
# Of a backup. The field's five minutes on demand: OBM_FAULTS_OUTAGE_MAX_S=300.
AGE_MAX_S = float(os.environ.get("OBM_FAULTS_OUTAGE_MAX_S", "30"))
MARGIN_S = 10.0  # what was on its way when the backup was taken
CLOSED = f"SELECT payload FROM events.log WHERE kind = {int(EventKind.CLOSED)}"


def age_s(world: World, turn: int) -> float:
    return random.Random(f"backup {world.seed} {turn}").uniform(AGE_MIN_S, AGE_MAX_S)


def restore_database(world: World, times: int) -> None:
    """PostgreSQL as it was, and Kafka as it is: consumers go back to before the backup. What was
    accepted since is sent, and what was sent since is sent again."""
    postgres = embedded(world).postgres
    for turn in range(times):
        world.pause(turn)
        backup = world.folder / f"backup-{turn}"
        taken_s = time.time()
        take_backup(world, backup)
        time.sleep(age_s(world, turn))
        with all_stopped(world):
            postgres.kill()
            shutil.rmtree(postgres.data)
            backup.rename(postgres.data)
            postgres.start()
            world.faults += 1
            forgotten = set(world.client.accepted) - closed_recipients(world)
            world.sent_again |= forgotten
            world.record_data_sent()
            rewind(world, taken_s - MARGIN_S)
            world.notes.append(
                f"a backup of {time.time() - taken_s:.0f} s ago: {len(forgotten)} of"
                f" {len(world.client.accepted)} messages were open or unknown then"
            )


def roll_back_kafka(world: World, times: int) -> None:
    """The broker's disk as it was, and PostgreSQL as it is: the audit publishes what is open."""
    kafka = embedded(world).kafka
    for turn in range(times):
        world.pause(turn)
        backup = world.folder / f"kafka-{turn}"
        kafka.stop()
        shutil.copytree(kafka.data, backup)
        kafka.start()
        time.sleep(age_s(world, turn))
        world.kill_kafka()
        shutil.rmtree(kafka.data)
        backup.rename(kafka.data)
        kafka.start()
        time.sleep(5)


def embedded(world: World) -> EmbeddedStack:
    assert isinstance(world.stack, EmbeddedStack), "the scenario needs a world with one broker"
    return world.stack


def take_backup(world: World, folder: Path) -> None:
    """A physical copy while the database is in use; it ends at a consistent moment."""
    postgres = embedded(world).postgres
    folder.mkdir(mode=0o700)
    user = postgres.user()
    shutil.chown(folder, user.uid, user.gid)
    source = postgres.url("postgres")
    options = ["--wal-method=stream", "--checkpoint=fast"]
    program = str(programs() / "pg_basebackup")
    postgres.run_tool([program, "-D", str(folder), "--dbname", source, *options])


def rewind(world: World, since_s: float) -> None:
    """`obm rewind`."""
    since = datetime.fromtimestamp(since_s, UTC).isoformat()
    kafka = dict(world.stack.kafka.client_settings)
    result = CliRunner().invoke(app, ["rewind", since], env=kafka)
    if result.exit_code:
        raise AssertionError(result.output or repr(result.exception))


@contextmanager
def all_stopped(world: World) -> Iterator[None]:
    """Services stop, then start together. Clients pause: an idempotency key that is younger than
    the backup is forgotten, so a request that is repeated after it is another email."""
    world.client.stop()
    for process in world.processes.all():
        process.terminate()
    yield
    for process in world.processes.all():
        process.start()
    for process in world.processes.all():
        process.await_ready()
    world.client.resume()


def closed_recipients(world: World) -> set[str]:
    """Of the messages that the log knows to be closed."""
    with world.database() as connection:
        rows: list[tuple[Any, ...]] = connection.execute(CLOSED.encode()).fetchall()
    return {MessageClosed.FromString(bytes(payload)).recipient for (payload,) in rows}
