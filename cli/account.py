"""`obm account`: billing customers."""

import asyncio
from typing import Annotated

import typer

from cli.directory import open_directory
from cli.options import noun
from cli.printing import console, id_column, print_table
from contracts.ingest.v1.directory_pb2 import Account

app = noun("Accounts: billing customers.")


@app.command()
def create(name: str) -> None:
    """Create an account and print its id.

    \b
    obm account create Acme
    """

    async def work() -> Account:
        async with open_directory() as directory:
            return await directory.add_account(name)

    console.print(asyncio.run(work()).account_id)


@app.command()
def remove(account: Annotated[str, typer.Argument(help="Account, by id or name")]) -> None:
    """Remove an account without tenants."""

    async def work() -> None:
        async with open_directory() as directory:
            await directory.remove(Account, account)

    asyncio.run(work())


@app.command("list")
def list_accounts() -> None:
    """List the accounts."""

    async def work() -> list[Account]:
        async with open_directory() as directory:
            return await directory.store.list_all(Account)

    print_table(
        (id_column("account"), "name"),
        ((account.account_id, account.name) for account in asyncio.run(work())),
    )
