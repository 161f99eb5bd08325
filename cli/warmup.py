"""`obm warmup`: the growth of what new egress sources may send."""

from operator import itemgetter
from typing import Annotated, Any

import typer

from cli.api import open_api
from cli.egress import addresses_of, find_source
from cli.options import noun
from cli.printing import id_column, print_table, utc_time

Source = Annotated[str, typer.Argument(help="Egress source, by id or address")]

app = noun("Warmups: the growth of what new egress sources may send.")


@app.command()
def show(
    sites: Annotated[bool, typer.Option(help="Include the warmups at single sites")] = False,
) -> None:
    """List the warmups with their stage, allowance and use since the day of the stage began. Times
    are UTC."""
    rows = []
    for one in sorted(open_api().items("/ips"), key=itemgetter("id")):
        if one["warmup"]:
            rows.append(row_of(one, one["warmup"], site="all"))
        at_sites = one["sites"] if sites else ()
        rows += [
            row_of(one, each["warmup"], site=each["site"]) for each in at_sites if each["warmup"]
        ]
    print_table(
        (
            *(id_column("egress"), "addresses", "site", "status", "ramp", "stage", "per day"),
            *("used", "delivered", "refused", "day began", "stays because"),
        ),
        rows,
    )


def row_of(one: dict[str, Any], warmup: dict[str, Any], *, site: str) -> tuple[str, ...]:
    return (
        one["id"],
        addresses_of(one),
        site,
        warmup["status"],
        warmup["ramp"],
        f"{warmup['stage']} of {warmup['of']}",
        f"{warmup['allowance_today']:,}" if warmup["enabled"] else "no limit",
        f"{warmup['sent']:,}",
        f"{warmup['delivered']:,}",
        f"{warmup['refused']:,}",
        utc_time(warmup["day_began_at"] or ""),
        warmup["held_because"] or "",
    )


@app.command()
def start(
    source: Source,
    ramp: Annotated[str, typer.Option(help="Ramp; ROUTER_WARMUP_RAMP if empty")] = "",
) -> None:
    """Start the warmup of a source, or start it again from its first stage.

    \b
    obm warmup start 192.0.2.10
    obm warmup start 192.0.2.10 --ramp cautious
    """
    change(source, action="start", ramp=ramp)


@app.command()
def pause(source: Source) -> None:
    """Keep the allowance of a source as it is."""
    change(source, action="pause")


@app.command()
def resume(source: Source) -> None:
    """Let a paused warmup go on."""
    change(source, action="resume")


@app.command()
def lower(
    source: Source, stage: Annotated[int, typer.Argument(min=1, max=1_000, help="Stage, from 1")]
) -> None:
    """Go back to an earlier stage. A ramp never skips stages."""
    change(source, action="lower", stage=stage)


@app.command()
def finish(source: Source) -> None:
    """End the warmup of a source that is known to be warm: it has no allowance any more."""
    change(source, action="finish")


def change(source: str, **body: object) -> None:
    api = open_api()
    api.post(f"/ips/{find_source(api, source)['id']}/warmup", body)
