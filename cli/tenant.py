"""`obm tenant`: the isolated sending units of an account."""

import asyncio
from typing import Annotated

import typer
from rich.table import Table

from cli.customers import opened
from cli.printing import console, id_column
from contracts.ingest.v1.directory_pb2 import Tenant

app = typer.Typer(help="Tenants: isolated sending units.", no_args_is_help=True)

Cap = Annotated[int, typer.Option(min=0, help="messages; 0: no cap")]


@app.command()
def create(
    name: str,
    *,
    account: Annotated[str, typer.Option(help="id or name")],
    per_second: Cap = 0,
    per_hour: Cap = 0,
    per_day: Cap = 0,
) -> None:
    """Create a tenant with a content key of its own; its id is printed."""

    async def work() -> Tenant:
        async with opened() as customers:
            return await customers.add_tenant(
                account,
                name,
                per_second_max=per_second,
                per_hour_max=per_hour,
                per_day_max=per_day,
            )

    console.print(asyncio.run(work()).tenant_id)


@app.command("list")
def show() -> None:
    """All tenants."""

    async def work() -> list[Tenant]:
        async with opened() as customers:
            return await customers.store.every(Tenant)

    table = Table(
        id_column("tenant"), id_column("account"), "name", "per second", "per hour", "per day"
    )
    for one in asyncio.run(work()):
        caps = (one.per_second_max, one.per_hour_max, one.per_day_max)
        table.add_row(
            one.tenant_id, one.account_id, one.name, *(str(cap) if cap else "" for cap in caps)
        )
    console.print(table)
