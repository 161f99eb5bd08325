"""`obm suppressions`: the addresses that a tenant must not send to."""

from pathlib import Path
from typing import Annotated

import typer

from cli.api import open_api
from cli.options import noun
from cli.printing import console
from cli.suppression_files import download_export, print_outcome, upload_file, wait_for_import

TenantOption = Annotated[str, typer.Option("--tenant", help="Tenant, by id or name")]

app = noun("Suppressions: addresses that a tenant must not send to.")


@app.command("import")
def import_file(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, help="CSV file")],
    *,
    tenant: TenantOption,
    failed: Annotated[
        Path | None, typer.Option(help="CSV file to write the lines to that cannot be added")
    ] = None,
) -> None:
    """Suppress the addresses of a CSV file, up to a million, and wait until that is done.

    \b
    obm suppressions import gone.csv --tenant shop
    obm suppressions import gone.csv --tenant shop --failed wrong.csv

    The first line may name the columns: email, origin (manual, bounce, complaint or unsubscribe)
    and created_at. Only email is needed; other columns are ignored. Addresses that are suppressed
    already stay as they are, so a file can be imported again.
    """
    api = open_api()
    tenant_id = api.find("tenants", tenant)["id"]
    created = upload_file(api, file, tenant_id)
    done = wait_for_import(api, created, tenant_id)
    print_outcome(api, done, tenant_id, failed=failed)


@app.command("export")
def export_file(
    file: Annotated[Path, typer.Argument(dir_okay=False, help="CSV file to write; - prints it")],
    *,
    tenant: TenantOption,
) -> None:
    """Write the suppressions of a tenant to a CSV file, which `import` reads.

    \b
    obm suppressions export suppressions.csv --tenant shop
    """
    api = open_api()
    count = download_export(api, file, api.find("tenants", tenant)["id"])
    if file != Path("-"):
        console.print(f"{count:,} suppressions written to {file}", markup=False)
