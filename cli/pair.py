"""`obm up`, `obm migrate`, `obm roles`: the broker and the database that the services stand on."""

import os
import signal
import threading
from typing import Annotated

import typer
from rich.console import Console

from cli.environment import migrate_all, migrations
from cli.environment import roles as addresses_of
from cli.options import DATA, Data
from kernel.embedded import Embedded, EmbeddedError
from kernel.errors import BadSetting

WATCH_EVERY_S = 0.5

KafkaPort = Annotated[int, typer.Option(help="0: the last run's if free, else any")]
PostgresPort = Annotated[int, typer.Option(help="0: the last run's if free, else any")]

console = Console(highlight=False, soft_wrap=True)


def up(data: Data = DATA, kafka_port: KafkaPort = 0, postgres_port: PostgresPort = 0) -> None:
    """Kafka and PostgreSQL in the foreground, migrated. Ctrl-C ends them; their data stays."""
    told = stop_signals()
    pair = Embedded(data, kafka_port=kafka_port, postgres_port=postgres_port)
    with console.status("Starting Kafka and PostgreSQL …"):
        pair.start()
    try:
        migrate_all(pair.database_url)
        console.print(exports(pair.bootstrap_servers, pair.database_url))
        console.print(f"[dim]# data and logs in {pair.folder.path}; Ctrl-C ends it[/dim]")
        watch(pair, told)
    finally:
        pair.stop()


def migrate() -> None:
    """Bring schemas and roles of DATABASE_URL, the owner's address, up to date."""
    migrate_all(owner_url())
    console.print(f"Up to date: {', '.join(migrations())}")


def roles() -> None:
    """Print the addresses of the services' roles, passwords and all."""
    for name, url in addresses_of(owner_url()).items():
        console.print(f"export {name}={url}", markup=False)


def owner_url() -> str:
    """Raises BadSetting."""
    if url := os.environ.get("DATABASE_URL"):
        return url
    raise BadSetting("DATABASE_URL is not set: it names the owner of the schemas")


def exports(bootstrap_servers: str, database_url: str) -> str:
    """Lines to paste into another shell."""
    return f"export KAFKA_BOOTSTRAP_SERVERS={bootstrap_servers}\nexport DATABASE_URL={database_url}"


def stop_signals() -> threading.Event:
    """Set by Ctrl-C or SIGTERM, also while still starting."""
    told = threading.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        signal.signal(signum, lambda *_: told.set())
    return told


def watch(pair: Embedded, told: threading.Event) -> None:
    """Until we are told to stop. Raises EmbeddedError when a server ends by itself."""
    while not told.wait(WATCH_EVERY_S):
        for server in (pair.kafka, pair.postgres):
            if not server.running:
                raise EmbeddedError(f"{server.title} has ended by itself: see {server.log}")
