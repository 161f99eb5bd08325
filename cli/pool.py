"""`obm pool`: egress pools, the sets of egress sources that tenants send through."""

import asyncio
from typing import Annotated

import typer

from cli.options import noun
from cli.printing import console, id_column, print_table
from cli.routing import open_routing
from contracts.router.v1.directory_pb2 import Pool

app = noun("Pools: sets of egress sources.")


@app.command()
def add(name: str) -> None:
    """Add a pool and print its id.

    \b
    obm pool add marketing
    """

    async def work() -> Pool:
        async with open_routing() as routing:
            return await routing.add_pool(name)

    console.print(asyncio.run(work()).pool_id)


@app.command()
def remove(pool: Annotated[str, typer.Argument(help="Pool, by id or name")]) -> None:
    """Remove a pool without egress sources."""

    async def work() -> None:
        async with open_routing() as routing:
            await routing.remove_pool(pool)

    asyncio.run(work())


@app.command("list")
def list_pools() -> None:
    """List the pools."""

    async def work() -> list[Pool]:
        async with open_routing() as routing:
            return await routing.pools()

    print_table(
        (id_column("pool"), "name", "cell"),
        ((one.pool_id, one.name, one.cell) for one in asyncio.run(work())),
    )
