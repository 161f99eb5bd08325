"""`obm account`: billing customers."""

from typing import Annotated

import typer

from cli.api import Api, open_api
from cli.options import noun
from cli.printing import console, id_column, print_table
from cli.tenant import given

app = noun("Accounts: billing customers.")

Account = Annotated[str, typer.Argument(help="Account, by id or name")]


@app.command()
def create(
    name: str,
    *,
    plan: Annotated[
        str, typer.Option(help="Its plan, by id, see `obm prices lint`; by default none")
    ] = "",
    brand: Annotated[
        str, typer.Option(help="Its brand, by id or name: the names that it and its keys show")
    ] = "",
) -> None:
    """Create an account and print its id.

    \b
    obm account create Acme --plan pro
    obm account create Acme --brand partner
    """
    api = open_api()
    new = {"name": " ".join(name.split()), "plan": plan, "brand": brand_id(api, brand)}
    console.print(api.post("/accounts", new)["id"])


@app.command()
def change(
    account: Account,
    *,
    name: Annotated[str | None, typer.Option(help="Name")] = None,
    plan: Annotated[str | None, typer.Option(help="Its plan, by id; empty: none")] = None,
    billing_id: Annotated[
        str | None, typer.Option(help="Its id in the billing system that usage is exported to")
    ] = None,
    brand: Annotated[
        str | None, typer.Option(help="Its brand, by id or name; empty: none of its own")
    ] = None,
) -> None:
    """Change the given options of an account. Its keys and domains keep the names that they have.

    \b
    obm account change Acme --plan pro --brand "Partner Post"
    """
    api = open_api()
    found = api.find("accounts", account)
    of_brand = brand if brand is None else brand_id(api, brand)
    changes = {"name": name, "plan": plan, "billing_id": billing_id, "brand": of_brand}
    api.patch(f"/accounts/{found['id']}", given(changes.items()))


def brand_id(api: Api, brand: str) -> str:
    """Empty without a brand. Raises ConfigError."""
    return str(api.find("brands", brand)["id"]) if brand else ""


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
        (id_column("account"), "name", "plan", "brand", "status"),
        (
            (one["id"], one["name"], one["plan"] or "", one["brand"] or "", one["status"])
            for one in open_api().items("/accounts")
        ),
    )
