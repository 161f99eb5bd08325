"""`obm export`: events or emails as a file."""

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.progress import Progress, SpinnerColumn, TextColumn

from cli.api import Api, open_api
from cli.options import AccountOption, TenantOption
from cli.printing import console, utc_time
from cli.suppression_files import write_file
from kernel.errors import ConfigError

POLL_S = 0.5
MEDIA_TYPES = {"csv": "text/csv", "ndjson": "application/x-ndjson"}

FilterOption = Annotated[str, typer.Option(help="Only rows that match, as in a search")]
MomentOption = Annotated[str, typer.Option(help="ISO 8601 time")]


def export(  # noqa: PLR0913 - an option for each
    kind: Annotated[str, typer.Argument(help="events or emails")],
    file: Annotated[Path, typer.Argument(help="Ends in .csv or .ndjson")],
    *,
    tenant: TenantOption = "",
    account_wide: AccountOption = False,
    type_: Annotated[str, typer.Option("--type", help="Of events; several with commas")] = "",
    to: FilterOption = "",
    domain: FilterOption = "",
    tag: FilterOption = "",
    status: Annotated[str, typer.Option(help="Of emails")] = "",
    since: MomentOption = "",
    until: MomentOption = "",
) -> None:
    """Export events or emails to a file, newest first. Interrupted, it deletes the export.

    \b
    obm export events bounces.csv --tenant shop --type email.bounced --since 2026-11-01T00:00:00Z
    obm export emails all.ndjson --account-wide
    """
    form = file.suffix.removeprefix(".")
    if form not in MEDIA_TYPES:
        raise ConfigError(f"{file} ends neither in .csv nor in .ndjson.")
    api = open_api()
    tenant_id = api.owner_id(tenant, account_wide=account_wide)
    given = {
        "type": [one for one in type_.split(",") if one], "to": to, "domain": domain, "tag": tag,
        "status": status, "since": since, "until": until,
    }  # fmt: skip
    wanted = {name: value for name, value in given.items() if value}
    body = {"kind": kind, "format": form, "filter": wanted}
    created = api.post("/exports", body, tenant_id=tenant_id)
    path = f"/exports/{created['id']}"
    try:
        found = wait_for(api, path, tenant_id)
        write_file(file, api.download(f"{path}/download", MEDIA_TYPES[form], tenant_id=tenant_id))
    finally:
        api.delete(path, tenant_id=tenant_id)
    rest = f"; what is older than {utc_time(found['reached_at'])} is left out"
    console.print(f"{found['rows']:,} {kind} in {file}{rest if found['truncated'] else ''}")


def wait_for(api: Api, path: str, tenant_id: str) -> dict[str, Any]:
    """Returns the complete export. Raises ConfigError."""
    columns = SpinnerColumn(), TextColumn("{task.description}")
    with Progress(
        *columns, console=console, transient=True, disable=not console.is_terminal
    ) as bar:
        task = bar.add_task("waiting")
        while (found := api.get(path, tenant_id=tenant_id))["status"] != "completed":
            if found["status"] == "failed":
                raise ConfigError(found["failure"])
            if found["reached_at"]:
                reached = utc_time(found["reached_at"])
                bar.update(task, description=f"{found['rows']:,} rows, back to {reached}")
            time.sleep(POLL_S)
        return found
