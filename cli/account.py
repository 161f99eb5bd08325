"""`obm account`: who pays."""

import asyncio

import typer
from rich.table import Table

from cli.customers import opened
from cli.printing import console, id_column
from contracts.ingest.v1.directory_pb2 import Account

app = typer.Typer(help="Accounts: customers.", no_args_is_help=True)


@app.command()
def create(name: str) -> None:
    """Create an account; its id is printed."""

    async def work() -> Account:
        async with opened() as customers:
            return await customers.add_account(name)

    console.print(asyncio.run(work()).account_id)


@app.command("list")
def show() -> None:
    """All accounts."""

    async def work() -> list[Account]:
        async with opened() as customers:
            return await customers.store.every(Account)

    table = Table(id_column("account"), "name")
    for account in asyncio.run(work()):
        table.add_row(account.account_id, account.name)
    console.print(table)
