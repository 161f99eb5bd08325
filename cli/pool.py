"""`obm pool`: egress pools, the sets of egress sources that tenants send through."""

from typing import Annotated

import typer

from cli.api import open_api
from cli.options import noun
from cli.printing import console, id_column, print_table

app = noun("Pools: sets of egress sources.")


@app.command()
def add(name: str) -> None:
    """Add a pool and print its id.

    \b
    obm pool add marketing
    """
    console.print(open_api().post("/pools", {"name": name})["id"])


@app.command()
def remove(pool: Annotated[str, typer.Argument(help="Pool, by id or name")]) -> None:
    """Remove a pool without egress sources."""
    api = open_api()
    api.delete(f"/pools/{api.find('pools', pool)['id']}")


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
    api = open_api()
    overflow_id = api.find("pools", overflow)["id"] if overflow else None
    api.patch(f"/pools/{api.find('pools', pool)['id']}", {"overflow_pool_id": overflow_id})


@app.command("set-feedback-domain")
def set_feedback_domain(
    pool: Annotated[str, typer.Argument(help="Pool, by id or name")],
    domain: Annotated[
        str, typer.Argument(help="Domain of yours, by id or name; without it, none")
    ] = "",
) -> None:
    """Let a domain of yours sign mail to providers that know senders by their DKIM domain.

    Yahoo sends complaints to whoever has enrolled the domain of a DKIM signature in its feedback
    loop. With a second signature, of a domain that you have enrolled once, the complaints about all
    customers of the pool arrive without an enrolment of each. Mail to other sites is signed as
    before. Add the domain first, and publish its DKIM record.

    \b
    obm pool set-feedback-domain default feedback.example.com
    obm pool set-feedback-domain default             # no longer
    """
    api = open_api()
    domain_id = api.find("domains", domain)["id"] if domain else None
    api.patch(f"/pools/{api.find('pools', pool)['id']}", {"feedback_domain_id": domain_id})


@app.command()
def move(
    pool: Annotated[str, typer.Argument(help="Pool, by id or name")],
    cell: Annotated[str, typer.Argument(help="Cell, see `obm cell list`")],
) -> None:
    """Move a pool and its tenants to another cell, while their mail flows.

    Pools that mail overflows to or from move together. The scheduler of their cell gives them up
    within seconds: `obm pool list` shows where they are. What they have used of their limits, their
    warmup and what is known of their reputation go with them.

    \b
    obm pool move marketing west
    """
    api = open_api()
    api.patch(f"/pools/{api.find('pools', pool)['id']}", {"cell": cell})


@app.command("list")
def list_pools() -> None:
    """List the pools, to which pool each overflows, its cell, and the id of its feedback domain."""
    pools = list(open_api().items("/pools"))
    names = {one["id"]: one["name"] for one in pools}
    print_table(
        (id_column("pool"), "name", "overflow", "cell", id_column("feedback domain")),
        (
            (
                one["id"],
                one["name"],
                names.get(one["overflow_pool_id"], ""),
                f"{one['cell']} → {one['moves_to']}" if one["moves_to"] else one["cell"],
                one["feedback_domain_id"] or "",
            )
            for one in pools
        ),
    )
