"""`obm figures`: what became of mail."""

import asyncio
from datetime import date
from typing import Annotated

import typer

from cli.api import open_api
from cli.environment import load_settings
from cli.options import AccountOption, TenantOption, noun
from cli.printing import console, print_table
from kernel.database import Database
from kernel.errors import ConfigError

METRICS = "accepted,sent,delivered,bounced,complained,delivery_rate,bounce_rate"
PeriodOption = Annotated[str, typer.Option(help="ISO 8601 date; by default the last seven days")]

app = noun("Figures: what became of mail.")


@app.command()
def show(
    *,
    tenant: TenantOption = "",
    account_wide: AccountOption = False,
    metrics: Annotated[str, typer.Option(help="Separated by commas")] = METRICS,
    by: Annotated[str, typer.Option(help="Dimensions, separated by commas")] = "period",
    start: PeriodOption = "",
    end: PeriodOption = "",
) -> None:
    """Show figures of a tenant, or with --account-wide of an account. They need OBM_API_KEY.

    \b
    obm figures show --tenant shop
    obm figures show --account-wide --by site --metrics sent,delivered,time_to_delivery_p90_s
    """
    api = open_api()
    given = {"metrics": metrics, "dimensions": by, "start_date": start, "end_date": end}
    query = {name: value for name, value in given.items() if value}
    tenant_id = api.owner_id(tenant, account_wide=account_wide)
    found = api.get("/emails/metrics", tenant_id=tenant_id, **query)
    rows, names = found["data"], found["metrics"]
    keys = [name for name in rows[0] if name not in names] if rows else ["figures"]
    total = dict(zip(keys, ["total"], strict=False)) | found["totals"]
    print_table(
        (*keys, *names),
        ([text(row.get(name)) for name in (*keys, *names)] for row in (*rows, total)),
    )


def text(value: object) -> str:
    return "" if value is None else str(value)


@app.command()
def verify(day: Annotated[str, typer.Argument(help="Day of the acceptance in UTC")]) -> None:
    """Count the messages of a day anew from the log, and compare the roll-ups with that. At the
    machine of the installation; it fails if there is a difference.

    \b
    obm figures verify 2026-11-29
    """
    asyncio.run(_verify(day))


async def _verify(text_of_day: str) -> None:
    """Raises ConfigError."""
    from services.events.settings import Settings  # noqa: PLC0415 - slow, and for one command
    from services.events.store.figures.recount import recount_day  # noqa: PLC0415

    try:
        day = date.fromisoformat(text_of_day)
    except ValueError:
        raise ConfigError(f"{text_of_day} is no date. It looks like 2026-01-31.") from None
    database = Database(load_settings(Settings).system_database_url, connections_max=1, name="obm")
    try:
        found = await recount_day(database, day)
    finally:
        await database.close()
    for one in found.differences:
        console.print(f"{' '.join(map(str, one.row))}: {one.in_roll_ups}, in the log {one.in_log}")
    if found.differences:
        raise ConfigError(f"{len(found.differences)} figures differ from the log.")
    console.print(f"{found.messages} messages: the figures are those of the log.")
