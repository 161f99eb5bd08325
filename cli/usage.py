"""`obm usage`: what was used in a month."""

from typing import Annotated

import typer

from cli.api import Api, open_api
from cli.options import TenantOption
from cli.printing import console, print_table

Account = Annotated[
    str, typer.Option("--account", help="Account, by id or name; with the key of an operator")
]
PeriodOption = Annotated[str, typer.Option(help="Month in UTC, such as 2026-01; by default this")]


def usage(
    *,
    account: Account = "",
    tenant: TenantOption = "",
    period: PeriodOption = "",
    by: Annotated[str, typer.Option(help="day or tenant")] = "",
) -> None:
    """Show what was used in a month: of an account, or with --tenant and the key of an account of
    a tenant.

    \b
    obm usage --account Acme
    obm usage --account Acme --period 2026-01 --by day
    """
    api = open_api()
    tenant_id = str(api.find("tenants", tenant)["id"]) if tenant else ""
    query = {"period": period, "by": by, "account_id": account_id(api, account)}
    found = api.get("/usage", tenant_id=tenant_id, **query)
    if by:
        names = [
            name for name in ("day", "tenant_id") if any(name in row for row in found["breakdown"])
        ]
        columns = (*names, "accepted", "sent", "domains", "mailboxes")
        rows = ([str(row.get(name, "")) for name in columns] for row in found["breakdown"])
        print_table(columns, rows)
        return
    console.print(f"{found['period']}, plan: {found['plan'] or 'none'}")
    spans = {"accepted this month": "monthly", "accepted today": "daily"}
    emails = {text: found["emails"][name] for text, name in spans.items() if found["emails"][name]}
    counts = {**emails, "domains": found["domains"], "mailboxes": found["mailboxes"]}
    used = [[text, str(one["used"]), limit_text(one["limit"])] for text, one in counts.items()]
    used.insert(1, ["sent this month", str(found["emails"]["monthly"]["sent"]), ""])
    print_table(("", "used", "limit"), used)


def account_id(api: Api, account: str) -> str:
    """Empty without an account. Raises ConfigError."""
    return str(api.find("accounts", account)["id"]) if account else ""


def limit_text(limit: int | None) -> str:
    return "" if limit is None else f"{limit:,}"
