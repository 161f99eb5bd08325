"""`obm invoice`: what a month costs."""

from cli.api import open_api
from cli.printing import console, print_table
from cli.usage import Account, PeriodOption, account_id


def invoice(*, account: Account = "", period: PeriodOption = "") -> None:
    """Preview the invoice of a month of an account.

    \b
    obm invoice --account Acme
    obm invoice --account Acme --period 2026-01
    """
    api = open_api()
    query = {"period": period, "account_id": account_id(api, account)}
    found = api.get("/invoices/preview", **query)
    names = ("description", "quantity", "included", "billed", "per", "unit_amount", "amount")
    print_table(names, ([str(line[name]) for name in names] for line in found["lines"]))
    console.print(f"{found['period']}, {found['status']}: {found['currency']} {found['total']}")
