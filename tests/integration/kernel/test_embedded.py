"""The embedded stack: restarts, crashes, and its errors."""

import asyncio
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import psutil
import psycopg
import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

from kernel.embedded import EmbeddedError, EmbeddedStack
from kernel.embedded.folder import Folder, free_port
from kernel.embedded.jars import Jar, ensure_jar, read_lock
from kernel.embedded.postgres import EmbeddedPostgres
from tests.support.kafka_clients import options_of

OWNER = """
import sys, time
from kernel.embedded import EmbeddedStack
stack = EmbeddedStack(sys.argv[1])
stack.start()
print(stack.kafka.pid, stack.postgres.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return tmp_path / "data"


@pytest.fixture
def postgres(data: Path) -> Iterator[EmbeddedPostgres]:
    folder = Folder(data)
    folder.open()
    server = EmbeddedPostgres(folder)
    server.start()
    yield server
    server.kill()
    folder.close()


def execute(server: EmbeddedPostgres, statement: str) -> list[tuple[object, ...]]:
    with psycopg.connect(server.database_url, autocommit=True) as connection:
        cursor = connection.execute(statement)
        return cursor.fetchall() if cursor.description else []


def can_connect(address: str) -> bool:
    host, port = address.split(":")
    with socket.socket() as client:
        return client.connect_ex((host, int(port))) == 0


def test_data_and_addresses_survive_a_restart_and_a_kill_of_everything(
    data: Path,
) -> None:
    with EmbeddedStack(data) as stack:
        addresses = (stack.bootstrap_servers, stack.database_url)
        cluster = (stack.kafka.data / "meta.properties").read_text()
        execute(stack.postgres, "CREATE TABLE kept AS SELECT 42 AS answer")
        asyncio.run(produce(options_of(stack.kafka.client_settings), b"kept"))
        stack.kill()
        assert not can_connect(addresses[0])
    with EmbeddedStack(data) as stack:
        assert (stack.bootstrap_servers, stack.database_url) == addresses
        assert asyncio.run(consume(options_of(stack.kafka.client_settings))) == b"kept"
        assert (stack.kafka.data / "meta.properties").read_text() == cluster
        assert execute(stack.postgres, "SELECT answer FROM kept") == [(42,)]
        stack.kafka.wipe()
        stack.kafka.start()
        assert stack.bootstrap_servers == addresses[0]
        assert (stack.kafka.data / "meta.properties").read_text() != cluster


async def produce(kafka: dict[str, Any], value: bytes) -> None:
    admin = AIOKafkaAdminClient(**kafka)
    await admin.start()
    await admin.create_topics([NewTopic("kept", num_partitions=1, replication_factor=1)])
    await admin.close()
    async with AIOKafkaProducer(**kafka, acks="all") as producer:
        await producer.send_and_wait("kept", value)


async def consume(kafka: dict[str, Any]) -> bytes:
    reader = AIOKafkaConsumer("kept", **kafka, auto_offset_reset="earliest")
    async with reader:
        async with asyncio.timeout(240):
            record = await reader.getone()
        return bytes(record.value)


def test_servers_die_with_their_owner_and_the_folder_is_free(data: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(data)], stdout=subprocess.PIPE)
    assert owner.stdout
    pids = [int(pid) for pid in owner.stdout.readline().split()]
    assert len(pids) == 2
    with pytest.raises(EmbeddedError, match=f"in use by process {owner.pid}"):
        EmbeddedStack(data).start()
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    folder = Folder(data)
    folder.open()  # waits until the last server has ended
    assert not any(map(is_alive, pids))
    folder.close()


def is_alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_durability_is_never_traded_for_speed(postgres: EmbeddedPostgres) -> None:
    for setting in ("fsync", "synchronous_commit", "full_page_writes"):
        assert execute(postgres, f"SHOW {setting}") == [("on",)]


def test_a_killed_postgres_restarts_on_its_port_with_committed_rows(
    postgres: EmbeddedPostgres,
) -> None:
    execute(postgres, "CREATE TABLE kept AS SELECT 1 AS n")
    port = postgres.port
    with psycopg.connect(postgres.database_url) as open_session:
        postgres.kill()
        postgres.start()
        assert postgres.port == port
        with pytest.raises(psycopg.OperationalError):
            open_session.execute("SELECT 1")
    assert execute(postgres, "SELECT n FROM kept") == [(1,)]


def test_a_paused_postgres_does_not_respond_and_resumes(postgres: EmbeddedPostgres) -> None:
    postgres.pause()
    with socket.create_connection(("127.0.0.1", postgres.port)) as client:
        client.settimeout(0.3)
        client.sendall(bytes.fromhex("0000000804d2162f"))  # SSLRequest
        with pytest.raises(TimeoutError):
            client.recv(1)
        postgres.resume()
        client.settimeout(10)
        assert client.recv(1) == b"N"


def test_an_unfinished_initdb_is_repeated(data: Path) -> None:
    unfinished = data / "postgres.unfinished"
    unfinished.mkdir(parents=True)
    (unfinished / "PG_VERSION").write_text("18\n")
    folder = Folder(data)
    folder.open()
    server = EmbeddedPostgres(folder)
    server.start()
    try:
        assert execute(server, "SELECT 1") == [(1,)]
        assert not unfinished.exists()
    finally:
        server.stop()
        folder.close()


def test_a_lost_password_file_is_replaced(postgres: EmbeddedPostgres) -> None:
    postgres.stop()
    (postgres.folder.path / "postgres.password").unlink()
    postgres.start()
    assert execute(postgres, "SELECT 1") == [(1,)]


def test_no_port_is_given_out_twice_before_it_is_bound() -> None:
    ports = [free_port() for _ in range(1_000)]
    assert len(set(ports)) == len(ports)


def test_a_taken_port_is_reported(data: Path) -> None:
    port = free_port()
    with socket.create_server(("127.0.0.1", port)):
        folder = Folder(data)
        folder.open()
        with pytest.raises(EmbeddedError, match=f"127.0.0.1:{port}: the port is taken"):
            EmbeddedPostgres(folder, port=port).start()
        folder.close()


def test_a_missing_jar_without_a_network_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTPS_PROXY", f"http://127.0.0.1:{free_port()}")
    with pytest.raises(EmbeddedError, match=r"kafka_2.13:4.* cannot be downloaded .*network"):
        ensure_jar(read_lock()[0], tmp_path)


def test_a_jar_with_another_hash_is_rejected(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jar, served = Jar("org.slf4j", "slf4j-api", "1.7.36", "0" * 64), tmp_path / "served"
    (served / "org/slf4j/slf4j-api/1.7.36").mkdir(parents=True)
    (served / "org/slf4j/slf4j-api/1.7.36" / jar.name).write_bytes(b"not the locked one")
    with mirror(served) as url:
        monkeypatch.setattr("jgo.maven._core.DEFAULT_REMOTE_REPOS", {"central": url})
        monkeypatch.setenv("NO_PROXY", "127.0.0.1")
        with pytest.raises(EmbeddedError, match=r"has SHA-256 .*; the lock requires 000"):
            ensure_jar(jar, tmp_path / "jars")
    assert not (tmp_path / "jars" / jar.name).exists()


@contextmanager
def mirror(folder: Path) -> Iterator[str]:
    handler = partial(SimpleHTTPRequestHandler, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_second_owner_does_not_wait_for_a_running_one(data: Path) -> None:
    folder = Folder(data)
    folder.open()
    began = time.monotonic()
    with pytest.raises(EmbeddedError, match="in use by process"):
        Folder(data).open()
    assert time.monotonic() - began < 1
    folder.close()
