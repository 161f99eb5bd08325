"""`obm run`: all services in one process, with embedded Kafka and PostgreSQL."""

import asyncio
import os
import socket
from contextlib import AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, NoReturn

import typer
import uvloop
from rich.console import Console

from cli.environment import Ports, environment, migrate_all
from cli.first_message import FirstMessage, NotDelivered
from cli.options import DATA, Data
from kernel import telemetry
from kernel.embedded import EmbeddedError, EmbeddedStack
from kernel.errors import ConfigError, Unavailable
from kernel.service import Service, first_config_error, run_services, stop_on_signals
from kernel.settings import Settings, read_settings
from services.__main__ import create_all

READY_POLL_S = 0.02
PROGRESS_INTERVAL_S = 5.0
console = Console(highlight=False, soft_wrap=True)


def run(
    *,
    data: Data = DATA,
    port: Annotated[
        int | None,
        typer.Option(
            min=1, max=65535, help="Port of the HTTP API", show_default=str(Ports().ingest_http)
        ),
    ] = None,
    free_ports: Annotated[bool, typer.Option(help="Use free ports, others in each run")] = False,
    quiet: Annotated[bool, typer.Option(help="Do not send the first message")] = False,
    tls: Annotated[
        bool,
        typer.Option(
            "--tls",
            help="Serve the APIs with TLS too, by a certificate that it makes in the data folder",
        ),
    ] = False,
) -> None:
    """Run the whole engine here: API, pipeline, sandbox, Kafka and PostgreSQL.

    Set OBM_KAFKA_BOOTSTRAP_SERVERS and DATABASE_URL to use other servers. All settings of the
    services (python -m services.router --help) can be set in the environment.
    """
    os.environ.setdefault("OBM_LOG_FORMAT", "console")
    os.environ.setdefault("OBM_LOG_LEVEL", "WARNING")
    if port is not None:
        os.environ.pop("INGEST_HTTP_LISTEN", None)
    try:
        ports = Ports.choose(http=port, free=free_ports)
        check_ports_free(ports, tls=tls)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_run(data, ports, quiet=quiet, tls=tls))
    except (EmbeddedError, ConfigError, NotDelivered, Unavailable) as error:
        fail(error)
    except BaseExceptionGroup as group:  # of the engine's loops
        if (bad := first_config_error(group)) is None:
            raise
        fail(bad)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None


def fail(error: Exception) -> NoReturn:
    console.print(str(error), style="red", markup=False)
    raise typer.Exit(2) from error


async def _run(data: Path, ports: Ports, *, quiet: bool, tls: bool) -> None:
    async with AsyncExitStack() as stack:
        stop = stop_on_signals()
        kafka, database_url = await _open_stack(data, stack)
        settings = environment(
            data,
            kafka=kafka,
            database_url=database_url,
            ports=ports,
            tls=tls,
        )
        os.environ.update({**settings, **os.environ, **kafka})
        await asyncio.to_thread(migrate_all, database_url)
        telemetry.start_telemetry("obm", read_settings(Settings, []))
        services = create_all()
        engine = asyncio.create_task(run_services(services, stop=stop))
        first_message = asyncio.create_task(
            _send_first_message(services, data, ports, quiet=quiet, tls=tls)
        )
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait([engine, first_message, stopped], return_when=asyncio.FIRST_COMPLETED)
        try:
            if first_message.done():
                await first_message
                await asyncio.wait([engine, stopped], return_when=asyncio.FIRST_COMPLETED)
        finally:  # after a failure or a stop: first the engine, then its stack
            stop.set()
            first_message.cancel()
            console.print("stopping …")
            await engine
    console.print("stopped; all data is in", str(data))


async def _open_stack(data: Path, stack: AsyncExitStack) -> tuple[dict[str, str], str]:
    """Settings of Kafka's clients, and database URL: from the environment, or of an embedded
    stack."""
    given = os.environ.get("OBM_KAFKA_BOOTSTRAP_SERVERS"), os.environ.get("DATABASE_URL")
    if given[0] and given[1]:
        return {"OBM_KAFKA_BOOTSTRAP_SERVERS": given[0]}, given[1]
    if given[0] or given[1]:
        raise ConfigError("Set both OBM_KAFKA_BOOTSTRAP_SERVERS and DATABASE_URL, or neither.")
    console.print("starting Kafka and PostgreSQL …")
    embedded = await stack.enter_async_context(EmbeddedStack(data))
    return embedded.kafka.client_settings, embedded.database_url


async def _send_first_message(
    services: list[Service], data: Path, ports: Ports, *, quiet: bool, tls: bool
) -> None:
    console.print("starting the services …")
    waited_s = 0.0
    while unavailable := {
        s.name: sorted(s.health.unavailable) for s in services if not s.health.ready
    }:
        await asyncio.sleep(READY_POLL_S)
        waited_s += READY_POLL_S
        if waited_s >= PROGRESS_INTERVAL_S:
            waited_s = 0.0
            console.print("  still waiting for", unavailable)
    first = FirstMessage(f"http://127.0.0.1:{ports.ingest_http}", data, console)
    await first.load_or_create_keys()
    if not quiet:
        await first.send()
    first.print_addresses(ports, tls=tls)


def check_ports_free(ports: Ports, *, tls: bool) -> None:
    """Check the ports before anything starts. Raises ConfigError."""
    unused = set() if tls else {"ingest_http_tls", "ingest_grpc_tls"}
    names: dict[int, str] = {}
    for name, port in asdict(ports).items():
        if name in unused:
            continue
        if port in names:
            both = f"{names[port]} and {name}".replace("_", " ")
            raise ConfigError(f"Port {port} is that of {both}. Each needs its own.")
        names[port] = name
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError as error:
                raise ConfigError(
                    f"Port {port} ({name.replace('_', ' ')}) is in use. Stop the process that "
                    "listens there, or use --free-ports."
                ) from error
