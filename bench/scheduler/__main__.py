"""`python -m bench.scheduler`: the scheduler with many tenants, sources and waiting messages."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import psycopg
import typer

from bench import record
from bench.folder import folder_of
from bench.printing import console, print_table, progress
from bench.scheduler.rows import Rows
from bench.scheduler.scenarios import SCENARIOS, Context, Figures
from bench.servers import servers
from cli.environment import migrate_all
from kernel.memory import tune_gc
from kernel.migrate import role_url

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def main(
    *,
    scenario: Annotated[
        list[str] | None, typer.Option(help=f"{', '.join(SCENARIOS)}; repeated; all by default")
    ] = None,
    waiting: Annotated[
        int, typer.Option(min=1_000, help="messages that wait in the scenario claims")
    ] = 10_000_000,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="write the figures to this file")
    ] = None,
) -> None:
    """Measure ticks of the scheduler on real PostgreSQL. The scenario claims needs 1 KB of disk for
    each waiting message."""
    for name in scenario or []:
        if name not in SCENARIOS:
            raise typer.BadParameter(f"unknown {name!r}, use {', '.join(SCENARIOS)}")
    document = record.describe_origin()
    tune_gc()  # as every service
    with folder_of("scheduler") as folder, servers(folder) as started, progress(console) as report:
        for name in scenario or SCENARIOS:
            report(name, 0, 1)
            with new_database(started.database_url) as url:
                context = Context(role_url(url, "router_system"), Rows(url), waiting, report)
                figures = asyncio.run(SCENARIOS[name](context))
            show(name, figures)
            document[name] = figures
    if json_file:
        record.write(document, json_file)


@contextmanager
def new_database(owner_url: str) -> Iterator[str]:
    """An empty, migrated database."""
    name = "obm_bench"
    with psycopg.connect(owner_url, autocommit=True) as owner:
        owner.execute(f"CREATE DATABASE {name}".encode())
    url = f"{owner_url.rpartition('/')[0]}/{name}"
    try:
        migrate_all(url)
        yield url
    finally:
        with psycopg.connect(owner_url, autocommit=True) as owner:
            owner.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def show(name: str, figures: Figures) -> None:
    rows = [(key.replace("_", " "), f"{value:,g}") for key, value in figures.items()]
    print_table(console, name, columns=("figure", "value"), rows=rows)


if __name__ == "__main__":
    app()
