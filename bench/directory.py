"""`python -m bench.directory`: how long a starting process reads the directory, and what it keeps.

Domains and API keys by ingest from PostgreSQL, and domains by the other services from Kafka, each
in a process of its own."""

import asyncio
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import psycopg
import typer

from bench import memory, record
from bench.folder import folder_of
from bench.printing import console, print_table, progress
from bench.servers import servers
from cli.environment import migrate_all
from contracts.ingest.v1.directory_pb2 import Account, ApiKey, Domain, DomainStatus, Tenant
from kernel import clock
from kernel.crypto import sha256
from kernel.database import Database
from kernel.health import DependencyHealth
from kernel.ids import uuid7_text
from kernel.kafka import Kafka
from kernel.kafka.brokers import Brokers
from kernel.kafka_settings import KafkaSettings
from kernel.memory import tune_gc, tune_malloc
from kernel.migrate import role_url
from kernel.table import ReplicatedTable
from kernel.topics import encode
from services.ingest.store.directory import (
    TABLES,
    DirectoryEntry,
    DirectoryStore,
    entry_columns,
)
from services.ingest.store.directory_cache import DirectoryCache

PER_TENANT = 10  # domains, and keys
BATCH = 1_000
RSA_BYTES, ED25519_BYTES = 1_260, 90  # of encrypted keys
FIGURES = ("entries", "seconds", "cpu_seconds", "bytes_per_entry")
SECRET_KEYS = ["of the bench"]
READ_INTERVAL_S, AGE_MAX_S = 0.5, 3_600.0

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def main(
    *,
    entries: Annotated[int, typer.Option(min=10, help="domains, and as many keys")] = 100_000,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="write the figures to this file")
    ] = None,
) -> None:
    """Measure the replay of the directory: seconds, and bytes of memory per entry."""
    document = record.describe_origin()
    with folder_of("directory") as folder, servers(folder) as started, progress(console) as report:
        migrate_all(started.database_url)
        report("entries", 0, entries)
        fill(started.database_url, entries)
        os.environ.update(started.kafka)  # of the processes that replay, too
        asyncio.run(publish(entries))
        report("replay", 0, 1)
        url = role_url(started.database_url, "ingest_system")
        figures = {
            "ingest": measure("ingest", url, 2 * entries),
            "kafka": measure("kafka", "", entries),
        }
    rows = [(name, *(f"{found[key]:,g}" for key in FIGURES)) for name, found in figures.items()]
    columns = ("from", *(name.replace("_", " ") for name in FIGURES))
    print_table(console, "Replay of the directory", columns=columns, rows=rows)
    if json_file:
        record.write(document | figures, json_file)


def domains(number: int, tenants: list[Tenant]) -> Iterator[Domain]:
    for index in range(number):
        tenant = tenants[index // PER_TENANT]
        yield Domain(
            domain_id=uuid7_text(),
            version=index + 1,
            tenant_id=tenant.tenant_id,
            account_id=tenant.account_id,
            name=f"shop-{index}.example.net",
            rsa_selector="obm-2048-4f9c2a",
            rsa_private_key=os.urandom(RSA_BYTES),
            ed25519_selector="obm-ed-4f9c2a",
            ed25519_private_key=os.urandom(ED25519_BYTES),
            return_path_host=f"bounce.shop-{index}.example.net",
            status=DomainStatus.DOMAIN_STATUS_VERIFIED,
        )


def api_keys(number: int, tenants: list[Tenant]) -> Iterator[ApiKey]:
    for index in range(number):
        tenant = tenants[index // PER_TENANT]
        yield ApiKey(
            key_id=uuid7_text(),
            account_id=tenant.account_id,
            tenant_id=tenant.tenant_id,
            name=f"key {index}",
            secret_sha256=sha256(str(index)),
            scopes=["full_access"],
        )


def fill(owner_url: str, entries: int) -> None:
    account = Account(account_id=uuid7_text(), name="Acme")
    tenants = [
        Tenant(tenant_id=uuid7_text(), account_id=account.account_id, name=f"tenant {index}")
        for index in range(-(-entries // PER_TENANT))
    ]
    with psycopg.connect(owner_url) as connection:
        versions = iter(range(1, 10**9))
        for kind in ([account], tenants, domains(entries, tenants), api_keys(entries, tenants)):
            copy(connection, kind, versions)
        connection.execute("SELECT setval('ingest.directory_version', %s)", (next(versions),))
    with psycopg.connect(owner_url, autocommit=True) as connection:
        connection.execute("ANALYZE")


def copy(
    connection: psycopg.Connection[tuple[object, ...]],
    entries: Iterator[DirectoryEntry] | list[Account] | list[Tenant],
    versions: Iterator[int],
) -> None:
    """Insert entries of one kind, as published."""
    rows = iter(entries)
    first = next(rows)
    names = [*entry_columns(first), "version", "published_version", "record"]
    statement = f"COPY {TABLES[type(first)]} ({', '.join(names)}) FROM STDIN"
    with connection.cursor() as cursor, cursor.copy(statement.encode()) as target:
        for entry in (first, *rows):
            entry.version = version = next(versions)
            found = entry_columns(entry).values()
            target.write_row([*found, version, version, entry.SerializeToString()])


def new_kafka() -> Kafka:
    config = Brokers.from_settings(KafkaSettings())
    return Kafka(config, DependencyHealth(), secret_keys=SECRET_KEYS)


async def publish(entries: int) -> None:
    kafka = new_kafka()
    kafka.declare(Domain)
    await kafka.create_topics()
    tenant = Tenant(tenant_id=uuid7_text(), account_id=uuid7_text())
    batch = []
    for domain in domains(entries, [tenant] * -(-entries // PER_TENANT)):
        batch.append(encode(domain, clock.now()))
        if len(batch) == BATCH:
            await kafka.publish(batch)
            batch = []
    await kafka.publish(batch)
    await kafka.close()


def measure(source: str, url: str, entries: int) -> dict[str, float]:
    """In a new process, because memory that was freed before would be used again."""
    command = [sys.executable, "-m", "bench.directory", "replay", source, url, str(entries)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout))


async def replay(source: str, url: str, entries: int) -> dict[str, float]:
    before, began_s, used_s = resident_bytes(), time.monotonic(), time.process_time()
    await (read_database(url) if source == "ingest" else read_kafka())
    seconds, cpu_seconds = time.monotonic() - began_s, time.process_time() - used_s
    used = resident_bytes() - before
    return {
        "entries": entries,
        "seconds": round(seconds, 2),
        "cpu_seconds": round(cpu_seconds, 2),
        "bytes_per_entry": round(used / entries),
    }


async def read_database(url: str) -> None:
    database = Database(url, connections_max=1, name="bench")
    health = DependencyHealth()
    cache = DirectoryCache(
        DirectoryStore(database), health, every_s=READ_INTERVAL_S, age_max_s=AGE_MAX_S
    )
    reading = asyncio.create_task(cache.run())
    while "directory" in health.unavailable:
        await asyncio.sleep(0.01)
    reading.cancel()
    await database.close()


async def read_kafka() -> None:
    kafka = new_kafka()
    table = ReplicatedTable(Domain, kafka)
    running = asyncio.create_task(kafka.run())
    await table.replayed.wait()
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    await kafka.close()


def resident_bytes() -> int:
    return memory.kilobytes(memory.read("self/status"), "VmRSS") * 1024


if __name__ == "__main__":
    if sys.argv[1:2] == ["replay"]:
        source, url, entries = sys.argv[2:]
        tune_malloc()  # as services do
        tune_gc()
        print(json.dumps(asyncio.run(replay(source, url, int(entries)))))
    else:
        app()
