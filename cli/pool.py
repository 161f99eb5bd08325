"""`obm pool`: egress pools, the sets of egress sources that tenants send through."""

from typing import Annotated

import typer

from cli.options import noun
from cli.printing import console, id_column, print_table
from cli.routing import run_in_routing

app = noun("Pools: sets of egress sources.")


@app.command()
def add(name: str) -> None:
    """Add a pool and print its id.

    \b
    obm pool add marketing
    """

    console.print(run_in_routing(lambda routing: routing.add_pool(name)).pool_id)


@app.command()
def remove(pool: Annotated[str, typer.Argument(help="Pool, by id or name")]) -> None:
    """Remove a pool without egress sources."""

    run_in_routing(lambda routing: routing.remove_pool(pool))


@app.command("list")
def list_pools() -> None:
    """List the pools."""

    print_table(
        (id_column("pool"), "name", "cell"),
        (
            (one.pool_id, one.name, one.cell)
            for one in run_in_routing(lambda routing: routing.pools())
        ),
    )
