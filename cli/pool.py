"""`obm pool`: sets of egresses that tenants send through."""

import asyncio

import typer
from rich.table import Table

from cli.printing import console, id_column
from cli.routing import opened
from contracts.router.v1.directory_pb2 import Pool

app = typer.Typer(help="Pools: sets of source addresses.", no_args_is_help=True)


@app.command()
def add(name: str) -> None:
    """Add a pool; its id is printed."""

    async def work() -> Pool:
        async with opened() as routing:
            return await routing.add_pool(name)

    console.print(asyncio.run(work()).pool_id)


@app.command("list")
def show() -> None:
    """All pools."""

    async def work() -> list[Pool]:
        async with opened() as routing:
            return await routing.pools()

    table = Table(id_column("pool"), "name", "cell")
    for one in asyncio.run(work()):
        table.add_row(one.pool_id, one.name, one.cell)
    console.print(table)
