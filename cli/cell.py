"""`obm cell`: sets of pools that the router schedules apart."""

from cli.api import open_api
from cli.options import noun
from cli.printing import console, print_table

app = noun("Cells: sets of pools that processes of the router schedule apart.")


@app.command()
def add(name: str) -> None:
    """Add a cell, to which pools can move.

    A process of the router takes it within seconds. Limits of a receiving site, and of all mail,
    are divided among the cells from now on. A cell cannot be removed.

    \b
    obm cell add west
    obm pool move marketing west
    """
    console.print(open_api().post("/cells", {"name": name})["id"])


@app.command("list")
def list_cells() -> None:
    """List the cells, with the number of their pools, and whether a process has each."""
    print_table(
        ("cell", "pools", "owned"),
        (
            (one["id"], str(one["pools"]), "yes" if one["is_owned"] else "no")
            for one in open_api().items("/cells")
        ),
    )
