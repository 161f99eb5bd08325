"""`obm account`: billing customers."""

from typing import Annotated

import typer

from cli.directory import run_in_directory
from cli.options import noun
from cli.printing import console, id_column, print_table
from contracts.ingest.v1.directory_pb2 import Account

app = noun("Accounts: billing customers.")


@app.command()
def create(
    name: str,
    *,
    brand: Annotated[
        str, typer.Option(help="Its brand, of OBM_BRANDS_FILE: the names that it and its keys show")
    ] = "",
) -> None:
    """Create an account and print its id.

    \b
    obm account create Acme
    obm account create Acme --brand partner
    """

    made = run_in_directory(lambda directory: directory.add_account(name, brand=brand))
    console.print(made.account_id)


@app.command()
def remove(account: Annotated[str, typer.Argument(help="Account, by id or name")]) -> None:
    """Remove an account without tenants."""

    run_in_directory(lambda directory: directory.remove(Account, account))


@app.command("list")
def list_accounts() -> None:
    """List the accounts."""

    print_table(
        (id_column("account"), "name", "brand"),
        (
            (account.account_id, account.name, account.brand)
            for account in run_in_directory(lambda directory: directory.store.list_all(Account))
        ),
    )
