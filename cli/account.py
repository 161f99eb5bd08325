"""`obm account`: billing customers."""

from typing import Annotated

import typer

from cli.api import open_api
from cli.options import noun
from cli.printing import console, id_column, print_table

app = noun("Accounts: billing customers.")

Account = Annotated[str, typer.Argument(help="Account, by id or name")]


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
    api = open_api()
    new = {"name": " ".join(name.split()), "brand": brand}
    console.print(api.post("/accounts", new)["id"])


@app.command()
def suspend(
    account: Account, *, reason: Annotated[str, typer.Option(help="For the account")] = ""
) -> None:
    """Refuse the live mail of an account from now on. Accepted mail is still delivered.

    \b
    obm account suspend Acme --reason unpaid
    """
    api = open_api()
    api.post(f"/accounts/{api.find('accounts', account)['id']}/suspend", {"reason": reason})


@app.command()
def resume(account: Account) -> None:
    """Accept the live mail of a suspended account again."""
    api = open_api()
    api.post(f"/accounts/{api.find('accounts', account)['id']}/resume")


@app.command()
def remove(account: Account) -> None:
    """Remove an account without tenants."""
    api = open_api()
    api.delete(f"/accounts/{api.find('accounts', account)['id']}")


@app.command("list")
def list_accounts() -> None:
    """List the accounts."""
    print_table(
        (id_column("account"), "name", "brand", "status"),
        (
            (one["id"], one["name"], one["brand"] or "", one["status"])
            for one in open_api().items("/accounts")
        ),
    )
