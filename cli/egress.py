"""`obm egress`: the source addresses that mail leaves from, with their names."""

import asyncio
from typing import Annotated

import typer

from cli.options import noun
from cli.printing import console, id_column, print_table
from cli.routing import address, check_local, opened
from contracts.router.v1.directory_pb2 import Egress

app = noun("Egresses: source addresses with their EHLO names.")


@app.command()
def add(
    source_ip: Annotated[str, typer.Argument(help="an address of this machine")],
    *,
    pool: Annotated[str, typer.Option(help="id or name")] = "default",
    ehlo: Annotated[str, typer.Option(help="its name in DNS; empty: ROUTER_EHLO")] = "",
    elsewhere: Annotated[
        bool, typer.Option(help="the address is another machine's, where delivery runs")
    ] = False,
) -> None:
    """Add an address to a pool; its id is printed. The router uses it within seconds.

    \b
    obm egress add 192.0.2.10 --pool default --ehlo out1.example.com
    """
    if not elsewhere:
        check_local(address(source_ip))

    async def work() -> Egress:
        async with opened() as routing:
            return await routing.add_egress(pool=pool, source_ip=source_ip, ehlo=ehlo)

    console.print(asyncio.run(work()).egress_id)


@app.command()
def pause(egress_id: str) -> None:
    """No new message leaves from it; its retries go elsewhere."""
    change(egress_id, paused=True)


@app.command()
def resume(egress_id: str) -> None:
    """It may be used again."""
    change(egress_id, paused=False)


@app.command()
def remove(egress_id: str) -> None:
    """It is gone for good."""
    change(egress_id, deleted=True)


def change(egress_id: str, *, paused: bool | None = None, deleted: bool | None = None) -> None:
    async def work() -> None:
        async with opened() as routing:
            await routing.change_egress(egress_id, paused=paused, deleted=deleted)

    asyncio.run(work())


@app.command("list")
def show() -> None:
    """All egresses."""

    async def work() -> list[Egress]:
        async with opened() as routing:
            return await routing.egresses()

    print_table(
        (id_column("egress"), id_column("pool"), "source address", "EHLO", "paused"),
        (
            (
                one.egress_id,
                one.pool_id,
                one.source_ip or "(default route)",
                one.ehlo or "(ROUTER_EHLO)",
                str(one.paused),
            )
            for one in asyncio.run(work())
        ),
    )
