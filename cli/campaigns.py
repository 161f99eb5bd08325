"""`obm campaigns`: near-identical mail of a tenant, and what its recipients made of it."""

from collections.abc import Mapping
from itertools import islice
from typing import Annotated, Any

import typer

from cli.api import open_api
from cli.options import noun
from cli.printing import id_column, print_table, utc_time

app = noun("Campaigns: near-identical mail, its complaints, and whether it is held.")

Tenant = Annotated[str, typer.Option("--tenant", help="Tenant, by id or name; without: all")]
Assessment = Annotated[str, typer.Option(help="started, paced, released or held")]
Action = Annotated[str, typer.Option(help="What becomes of its mail: held, limited or none")]


@app.callback()
def campaigns() -> None:
    """Campaigns: near-identical mail, its complaints, and whether it is held."""


@app.command("list")
def list_campaigns(
    *,
    tenant: Tenant = "",
    assessment: Assessment = "",
    action: Action = "",
    limit: Annotated[int, typer.Option(min=1, help="Most campaigns")] = 100,
) -> None:
    """List campaigns with mail of the last 30 days, newest first (times in UTC).

    \b
    obm campaigns list --tenant shop --action held
    """
    api = open_api()
    tenant_id = api.find("tenants", tenant)["id"] if tenant else ""
    query = {"assessment": assessment, "action": action}
    found = api.items("/shield/campaigns", tenant_id=tenant_id, **query)
    print_table(
        (
            *(id_column("campaign"), id_column("tenant"), "since", "screened", "delivered"),
            *("complaints", "held", "assessment", "evidence", "allowance"),
        ),
        (row_of(one) for one in islice(found, limit)),
    )


def row_of(one: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        one["id"],
        one["tenant_id"],
        utc_time(one["created_at"]),
        f"{one['screened']:,}",
        f"{one['delivered']:,}",
        f"{one['complaints']:.3g}",
        "?" if one["held"] is None else f"{one['held']:,}",
        one["assessment"] or "",
        "" if one["evidence"] is None else f"{one['evidence']:.1f}",
        "no limit" if one["allowance"] is None else f"{one['allowance']:,}",
    )
