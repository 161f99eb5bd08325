"""`obm suppressions`: addresses that mail must not be sent to."""

from pathlib import Path
from typing import Annotated
from urllib.parse import quote, urlencode

import typer

from cli.api import open_api
from cli.options import AccountOption, TenantOption, noun
from cli.printing import console, id_column, print_table, utc_time
from cli.suppression_files import (
    STANDARD_OUTPUT,
    download_export,
    print_outcome,
    upload_file,
    wait_for_import,
)

ListOption = Annotated[str, typer.Option("--list", help="Only for broadcasts to this list")]
BATCH_MAX = 500  # addresses in a request

app = noun("Suppressions: addresses that mail must not be sent to.")


@app.command("list")
def list_suppressions(
    *,
    tenant: TenantOption = "",
    account_wide: AccountOption = False,
    email: Annotated[str, typer.Option(help="Only of this address")] = "",
    domain: Annotated[str, typer.Option(help="Only of addresses in this domain")] = "",
    origin: Annotated[str, typer.Option(help="Only bounce, complaint, manual or unsubscribe")] = "",
    of_list: ListOption = "",
    since: Annotated[str, typer.Option(help="Only since this time, ISO 8601")] = "",
) -> None:
    """List the suppressions of a tenant, newest first; with --account-wide, those of the account
    and of all its tenants. Times are UTC.

    \b
    obm suppressions list --tenant shop --origin complaint
    """
    api = open_api()
    wanted = {"email": email, "domain": domain, "origin": origin, "list": of_list, "since": since}
    print_table(
        (id_column("id"), "address", "scope", "list", "origin", "reason", "since", "until"),
        (
            (
                one["id"],
                one["email"],
                one["scope"],
                one["list"] or "",
                one["origin"],
                one["reason"] or "",
                utc_time(one["created_at"]),
                utc_time(one["expires_at"] or ""),
            )
            for one in api.items(
                "/suppressions", tenant_id=api.owner_id(tenant, account_wide=account_wide), **wanted
            )
        ),
    )


@app.command()
def add(
    addresses: Annotated[list[str], typer.Argument(help="Addresses")],
    *,
    tenant: TenantOption = "",
    account_wide: AccountOption = False,
    of_list: ListOption = "",
    note: Annotated[str, typer.Option(help="For people, at most 1000 characters")] = "",
    until: Annotated[str, typer.Option(help="End, ISO 8601; empty: when removed")] = "",
) -> None:
    """Suppress addresses, and print the ids of the suppressions.

    \b
    obm suppressions add ann@example.net --tenant shop --note "asked by phone"
    obm suppressions add ann@example.net bob@example.net --tenant shop --list weekly
    """
    api = open_api()
    tenant_id = api.owner_id(tenant, account_wide=account_wide)
    fields = {
        "scope": "account" if account_wide else "tenant",
        "list": of_list or None,
        "note": note,
        "expires_at": until or None,
    }
    for first in range(0, len(addresses), BATCH_MAX):
        given = {"emails": addresses[first : first + BATCH_MAX], **fields}
        for one in api.post("/suppressions/batch/add", given, tenant_id=tenant_id)["data"]:
            console.print(one["id"])


@app.command()
def remove(
    address: Annotated[str, typer.Argument(help="Address, or id of a suppression")],
    *,
    tenant: TenantOption = "",
    account_wide: AccountOption = False,
    of_list: ListOption = "",
    force: Annotated[bool, typer.Option(help="Also that of a complaint")] = False,
) -> None:
    """Remove a suppression.

    \b
    obm suppressions remove ann@example.net --tenant shop
    """
    api = open_api()
    query = urlencode({"list": of_list, "force": "true" if force else "false"})
    path = f"/suppressions/{quote(address, safe='')}?{query}"
    api.delete(path, tenant_id=api.owner_id(tenant, account_wide=account_wide))


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV file")],
    *,
    tenant: TenantOption = "",
    account_wide: AccountOption = False,
    failed: Annotated[
        Path | None, typer.Option(help="CSV file to write the lines to that cannot be added")
    ] = None,
) -> None:
    """Suppress the addresses of a CSV file, up to a million, and wait until that is done.

    \b
    obm suppressions import gone.csv --tenant shop
    obm suppressions import gone.csv --tenant shop --failed wrong.csv

    The first line may name the columns: email, origin (manual, bounce, complaint or unsubscribe),
    reason, list, note, expires_at and created_at. Only email is needed; other columns are ignored.
    A file can be imported again: each address is added once.
    """
    api = open_api()
    tenant_id = api.owner_id(tenant, account_wide=account_wide)
    created = upload_file(api, file, tenant_id)
    done = wait_for_import(api, created, tenant_id)
    print_outcome(api, done, tenant_id, failed=failed)


@app.command("export")
def export_file(
    file: Annotated[Path, typer.Argument(dir_okay=False, help="CSV file to write; - prints it")],
    *,
    tenant: TenantOption = "",
    account_wide: AccountOption = False,
) -> None:
    """Write the suppressions of a tenant to a CSV file, which `import` reads; with --account-wide,
    those that hold for all tenants.

    \b
    obm suppressions export suppressions.csv --tenant shop
    """
    api = open_api()
    count = download_export(api, file, api.owner_id(tenant, account_wide=account_wide))
    if file != STANDARD_OUTPUT:
        console.print(f"{count:,} suppressions written to {file}", markup=False)
