"""`obm recipient`: recipients who want to be forgotten."""

import time
from typing import Annotated
from urllib.parse import quote

import typer

from cli.api import open_api
from cli.options import AccountOption, TenantOption, noun
from cli.printing import console, id_column, print_table, utc_time

POLL_S = 1.0

app = noun("Recipients who want to be forgotten.")


@app.command()
def erase(
    address: Annotated[str, typer.Argument(help="Address")],
    *,
    tenant: TenantOption = "",
    account_wide: AccountOption = False,
    wait: Annotated[bool, typer.Option(help="Wait until it is complete")] = True,
) -> None:
    """Cancel what waits for an address and remove what is stored of it. Counts stay, and it stays
    suppressed if it is.

    \b
    obm recipient erase ann@example.net --tenant shop
    OBM_API_KEY=… obm recipient erase ann@example.net --account-wide
    """
    api = open_api()
    tenant_id = api.owner_id(tenant, account_wide=account_wide)
    found = api.delete(f"/recipients/{quote(address, safe='')}", tenant_id=tenant_id)
    console.print(found["id"])
    while wait and found["status"] != "completed":
        time.sleep(POLL_S)
        found = api.get(f"/erasures/{found['id']}", tenant_id=tenant_id)
    if wait:
        console.print(f"messages: {found['messages']:,}")


@app.command()
def erasures(*, tenant: TenantOption = "", account_wide: AccountOption = False) -> None:
    """List the erasures of a tenant, newest first. Times are UTC.

    \b
    obm recipient erasures --tenant shop
    """
    api = open_api()
    tenant_id = api.owner_id(tenant, account_wide=account_wide)
    print_table(
        (id_column("id"), "scope", "status", "messages", "since", "completed"),
        (
            (
                one["id"],
                one["scope"],
                one["status"],
                f"{one['messages']:,}",
                utc_time(one["created_at"]),
                utc_time(one["completed_at"] or ""),
            )
            for one in api.items("/erasures", tenant_id=tenant_id)
        ),
    )
