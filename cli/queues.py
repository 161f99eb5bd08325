"""`obm queues`: what waits in the router's scheduled queues, and how to cancel it."""

from collections.abc import Mapping
from typing import Annotated

import typer

from cli.api import open_api
from cli.options import TenantOption, noun
from cli.printing import console, print_table
from kernel.errors import ConfigError

app = noun("Scheduled queues: what waits, why, and how to cancel it.")


@app.command("list")
def list_queues(*, tenant: TenantOption) -> None:
    """List the queues of a tenant: how much waits, because of what, and until when (UTC).

    \b
    obm queues list --tenant shop
    """

    api = open_api()
    tenant_id = api.find("tenants", tenant)["id"]
    print_table(
        ("site", "priority", "queued", "because of", "limit of", "continues"),
        (
            (
                one["site"],
                one["priority"],
                f"{one['queued']:,}",
                one["limited_by"] or "",
                one["limit_scope"] or "",
                one["next_at"] or "",
            )
            for one in api.items("/queues", tenant_id=tenant_id)
            if one["queued"]
        ),
    )


@app.command()
def cancel(
    *,
    tenant: TenantOption,
    recipient_domain: Annotated[str, typer.Option(help="Domain of the recipient")] = "",
    sender: Annotated[str, typer.Option(help="Address in From, or its domain")] = "",
    site: Annotated[str, typer.Option(help="Site, as `obm queues list` shows it")] = "",
    tag: Annotated[str, typer.Option(help="NAME, or NAME=VALUE")] = "",
    all_: Annotated[bool, typer.Option("--all", help="Everything that waits")] = False,
    dry_run: Annotated[bool, typer.Option(help="Only count")] = False,
) -> None:
    """Cancel the messages of a tenant that wait and match every given option. Each gets its event
    and webhook. Messages whose delivery has started are not canceled.

    \b
    obm queues cancel --tenant shop --tag campaign=spring --dry-run
    obm queues cancel --tenant shop --recipient-domain example.net
    """
    name, equals, value = tag.partition("=")
    wanted = {
        "recipient_domain": recipient_domain,
        "sender": sender,
        "site": site,
        "tag": {"name": name, "value": value if equals else None} if tag else None,
    }
    if not any(wanted.values()) and not all_:
        raise ConfigError("Name what to cancel, for example --tag, or use --all.")
    matched, canceled = cancel_all(tenant, {**wanted, "all": all_}, dry_run=dry_run)
    if dry_run:
        console.print(f"{matched:,} messages would be canceled")
    else:
        console.print(f"{canceled:,} messages canceled, {matched - canceled:,} too late")


def cancel_all(tenant: str, wanted: Mapping[str, object], *, dry_run: bool) -> tuple[int, int]:
    """Returns the numbers of messages that matched, and that were canceled."""
    api = open_api()
    tenant_id = api.find("tenants", tenant)["id"]
    matched = canceled = 0
    after = ""
    while True:
        request = {"filter": wanted, "after": after, "dry_run": dry_run}
        page = api.post("/queues/cancel", request, tenant_id=tenant_id)
        matched, canceled = matched + page["matched"], canceled + page["canceled"]
        if not (after := page["next"] or ""):
            return matched, canceled
        console.print(f"{matched:,} found so far …")
