"""`obm up`, `obm migrate`, `obm database-urls`: Kafka and PostgreSQL without the services."""

import os
import signal
import threading
import time
from typing import Annotated

import typer
from rich.console import Console

from cli.environment import database_urls as urls_of_roles
from cli.environment import migrate_all, migrations
from cli.options import DATA, Data
from kernel.embedded import EmbeddedError, EmbeddedStack
from kernel.errors import ConfigError
from kernel.migrate import needs_migration

WATCH_INTERVAL_S = 0.5
SCHEMA_INTERVAL_S = 1.0

KafkaPort = Annotated[
    int,
    typer.Option(min=0, max=65535, help="Port of Kafka; 0: that of the last run if free, else any"),
]
PostgresPort = Annotated[
    int,
    typer.Option(
        min=0, max=65535, help="Port of PostgreSQL; 0: that of the last run if free, else any"
    ),
]

console = Console(highlight=False, soft_wrap=True)


def up(data: Data = DATA, kafka_port: KafkaPort = 0, postgres_port: PostgresPort = 0) -> None:
    """Run Kafka and PostgreSQL in the foreground, migrated. Ctrl-C stops them; their data stays."""
    stop = stop_signals()
    stack = EmbeddedStack(data, kafka_port=kafka_port, postgres_port=postgres_port)
    with console.status("Starting Kafka and PostgreSQL …"):
        stack.start()
    try:
        migrate_all(stack.database_url)
        console.print(exports(stack), markup=False)
        console.print(f"[dim]# data and logs in {stack.folder.path}; Ctrl-C stops it[/dim]")
        watch(stack, stop)
    finally:
        stack.stop()


def migrate(
    wait_for: Annotated[
        str,
        typer.Option(
            metavar="SERVICE",
            help="Change nothing; wait until the schema of this service is up to date, by its "
            "…_SYSTEM_DATABASE_URL",
        ),
    ] = "",
) -> None:
    """Update the schemas and roles of DATABASE_URL, the URL of their owner."""
    if wait_for:
        await_schema(wait_for)
        return
    migrate_all(owner_url())
    console.print(f"Up to date: {', '.join(migrations())}")


def await_schema(service: str) -> None:
    """Raises ConfigError."""
    variable = f"{service}_SYSTEM_DATABASE_URL".upper()
    if service not in migrations():
        raise ConfigError(f"{service!r} has no schema. Name one of {', '.join(migrations())}.")
    if not (url := os.environ.get(variable)):
        raise ConfigError(f"{variable} is not set. `obm database-urls` prints it.")
    before = ""
    while reason := needs_migration(url, service, migrations()[service]):
        if reason != before:
            console.print(f"Waiting for `obm migrate`: {reason}", markup=False)
        before = reason
        time.sleep(SCHEMA_INTERVAL_S)


def database_urls() -> None:
    """Print the database URLs of the services' roles, with passwords."""
    for name, url in urls_of_roles(owner_url()).items():
        console.print(f"export {name}={url}", markup=False)


def owner_url() -> str:
    """Raises ConfigError."""
    if url := os.environ.get("DATABASE_URL"):
        return url
    raise ConfigError("DATABASE_URL is not set. Set it to the URL of the schemas' owner.")


def exports(stack: EmbeddedStack) -> str:
    """Shell commands for the environment of the services, with passwords."""
    settings = {**stack.kafka.client_settings, "DATABASE_URL": stack.database_url}
    return "\n".join(f"export {name}={value}" for name, value in settings.items())


def stop_signals() -> threading.Event:
    """An event that SIGINT and SIGTERM set, also during the start."""
    stop = threading.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda *_: stop.set())
    return stop


def watch(stack: EmbeddedStack, stop: threading.Event) -> None:
    """Wait until stop is set. Raises EmbeddedError if a server exits."""
    while not stop.wait(WATCH_INTERVAL_S):
        for server in (stack.kafka, stack.postgres):
            if not server.running:
                raise EmbeddedError(f"{server.title} has exited. See {server.log}.")
