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


@app.command("set-overflow")
def set_overflow(
    pool: Annotated[str, typer.Argument(help="Pool, by id or name")],
    overflow: Annotated[
        str, typer.Argument(help="Pool whose warm sources help, by id or name; without it, none")
    ] = "",
) -> None:
    """Let the warm sources of another pool send what a pool cannot send yet.

    Mail overflows at a site while all sources of its pool have used up the allowance of their
    warmup there, or are suspended, listed or paused. It never overflows because of a rate, never to
    a source that is warming up, and no further than to this one pool. The limits of the other pool
    and of its sources hold.

    \b
    obm pool set-overflow acme default
    obm pool set-overflow acme             # no longer
    """

    run_in_routing(lambda routing: routing.set_overflow(pool, overflow))


@app.command("list")
def list_pools() -> None:
    """List the pools, and to which pool each overflows."""

    pools = run_in_routing(lambda routing: routing.pools())
    names = {one.pool_id: one.name for one in pools}
    print_table(
        (id_column("pool"), "name", "overflow", "cell"),
        ((one.pool_id, one.name, names.get(one.overflow_pool_id, ""), one.cell) for one in pools),
    )
