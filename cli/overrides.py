"""`obm overrides`: limits and suspensions that replies of receiving servers have caused, or an
operator has set, for a time."""

from operator import itemgetter
from typing import Annotated

import typer
from rich.table import Column

from cli.api import open_api
from cli.egress import find_source
from cli.options import TenantOption, noun
from cli.printing import console, print_table, utc_time
from kernel.errors import ConfigError

HOURS_MAX = 24 * 30
PER_MINUTE_MAX = 1_000_000

app = noun("Overrides: limits and suspensions that end by themselves.")


@app.command("list")
def list_overrides() -> None:
    """List the overrides in force, and the tenants and sources that are warned or paused. The name
    of an override says what has set it, and which scope it limits. Times are UTC."""
    api = open_api()
    print_table(
        (
            Column("override", no_wrap=True),
            *("action", "per minute", "until", "restored", "reply"),
        ),
        (
            (
                one["name"],
                one["action"],
                str(one["per_minute"] or ""),
                utc_time(one["until"]),
                utc_time(one["restored_at"]),
                one["reason"] or "",
            )
            for one in sorted(api.items("/overrides"), key=itemgetter("restored_at"))
        ),
    )
    if standings := sorted(api.items("/standings"), key=itemgetter("id")):
        print_table(
            ("warned or paused", "standing", "for", "since"),
            (
                (
                    f"{one['subject_kind']} {one['subject_id']}",
                    one["standing"],
                    one["reason"] or "",
                    utc_time(one["changed_at"]),
                )
                for one in standings
            ),
        )


@app.command()
def remove(override: Annotated[str, typer.Argument(help="As listed")]) -> None:
    """End an override now."""
    api = open_api()
    for one in api.items("/overrides"):
        if override in (one["name"], one["id"]):
            api.delete(f"/overrides/{one['id']}")
            return
    raise ConfigError(f"No override {override} is in force. See `obm overrides list`.")


@app.command("set")
def set_override(
    *,
    egress: Annotated[str, typer.Option(help="Egress source, by id or address")] = "",
    tenant: TenantOption = "",
    site: Annotated[str, typer.Option(help="Site; empty, with --tenant: all")] = "",
    per_minute: Annotated[
        int, typer.Option(min=0, max=PER_MINUTE_MAX, help="Messages; 0 suspends")
    ] = 0,
    one_connection: Annotated[bool, typer.Option(help="One message at a time")] = False,
    hours: Annotated[float, typer.Option(help="Duration", min=0.01, max=HOURS_MAX)] = 24.0,
    reason: Annotated[str, typer.Option(help="Shown in the list")] = "",
) -> None:
    """Slow down or suspend an egress source at a site, or a tenant, and print the override's name.

    \b
    obm overrides set --egress 192.0.2.10 --site yahoo --hours 4
    obm overrides set --egress 192.0.2.10 --site google --per-minute 60
    obm overrides set --tenant shop --hours 1 --reason "wrong list"
    """
    api = open_api()
    made = api.post(
        "/overrides",
        {
            "egress_id": find_source(api, egress)["id"] if egress else None,
            "tenant_id": api.find("tenants", tenant)["id"] if tenant else None,
            "site": site,
            "per_minute": per_minute,
            "one_connection": one_connection,
            "hours": hours,
            "reason": reason,
        },
    )
    console.print(made["name"])
