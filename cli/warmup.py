"""`obm warmup`: the growth of what new egress sources may send."""

import asyncio
from typing import Annotated

import typer

from cli.options import noun
from cli.policies import open_policies, utc_time
from cli.printing import id_column, print_table
from contracts.router.v1.directory_pb2 import EgressSource
from contracts.router.v1.policy_service_pb2 import Warmup

Source = Annotated[str, typer.Argument(help="Egress source, by id or address")]

app = noun("Warmups: the growth of what new egress sources may send.")


@app.command()
def show(
    sites: Annotated[bool, typer.Option(help="Include the warmups at single sites")] = False,
) -> None:
    """List the warmups with their stage, allowance and use since the day of the stage began. Times
    are UTC."""

    async def work() -> tuple[list[Warmup], dict[str, EgressSource]]:
        async with open_policies() as policies:
            return await policies.warmups(), await policies.sources()

    warmups, sources = asyncio.run(work())
    print_table(
        (
            *(id_column("egress"), "addresses", "site", "status", "ramp", "stage", "per day"),
            *("used", "delivered", "refused", "day began", "stays because"),
        ),
        [
            row_of(one, sources[one.state.egress_id])
            for one in warmups
            if one.state.egress_id in sources and (sites or not one.state.site)
        ],
    )


def row_of(one: Warmup, source: EgressSource) -> tuple[str, ...]:
    state = one.state
    is_finished = state.status == "finished"
    return (
        state.egress_id,
        " ".join(filter(None, (source.source_ip, source.source_ipv6))) or "(any)",
        state.site or "all",
        state.status,
        state.ramp,
        f"{state.stage + 1} of {one.stages}",
        "no limit" if is_finished else f"{state.per_day:,}",
        f"{one.used:,}",
        f"{one.delivered:,}",
        f"{one.refused:,}",
        utc_time(state.day_began_at),
        "" if is_finished else state.reason,
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
    change(source, "start", ramp=ramp)


@app.command()
def pause(source: Source) -> None:
    """Keep the allowance of a source as it is."""
    change(source, "pause")


@app.command()
def resume(source: Source) -> None:
    """Let a paused warmup go on."""
    change(source, "resume")


@app.command()
def lower(
    source: Source, stage: Annotated[int, typer.Argument(min=1, max=1_000, help="Stage, from 1")]
) -> None:
    """Go back to an earlier stage. A ramp never skips stages."""
    change(source, "lower", stage=stage - 1)


@app.command()
def finish(source: Source) -> None:
    """End the warmup of a source that is known to be warm: it has no allowance any more."""
    change(source, "finish")


def change(source: str, action: str, *, ramp: str = "", stage: int = 0) -> None:
    async def work() -> None:
        async with open_policies() as policies:
            await policies.change_warmup(source, action, ramp=ramp, stage=stage)

    asyncio.run(work())
