"""`obm egress`: egress sources, the addresses that mail is sent from, with their EHLO names."""

import asyncio
from collections.abc import Sequence
from typing import Annotated

import typer

from cli.options import noun
from cli.policies import find_source, read_sources, utc_time
from cli.printing import console, id_column, print_table
from cli.routing import address_pair, check_local, run_in_routing
from contracts.router.v1.directory_pb2 import EgressSource, Pool
from contracts.router.v1.policy_service_pb2 import Source
from services.router.domain.source_states import USABLE, SourceState

Addresses = Annotated[
    list[str],
    typer.Argument(help="Of this machine: an IPv4 address, an IPv6 address, or one of each"),
]
Remote = Annotated[
    bool, typer.Option(help="Accept addresses of another machine, where delivery runs")
]

app = noun("Egress sources: source addresses with their EHLO names.")


@app.command()
def add(
    addresses: Addresses,
    *,
    pool: Annotated[str, typer.Option(help="Pool, by id or name")] = "default",
    ehlo: Annotated[
        str, typer.Option(help="EHLO name of the addresses; ROUTER_EHLO if empty")
    ] = "",
    remote: Remote = False,
    warmup: Annotated[
        str, typer.Option(help="Ramp of its warmup; empty: the source is warm already")
    ] = "",
) -> None:
    """Add an egress source to a pool and print its id. The router uses it within seconds.

    Give a new address a warmup, so that it sends little at first: receiving servers block unknown
    addresses with much mail. The ramp "default" fits most mail.

    With one address of each family, mail reaches every host. With a single address, hosts without
    an address of its family cannot be reached. The EHLO name must resolve to the addresses, and
    they to the name.

    \b
    obm egress add 192.0.2.10 2001:db8::10 --pool default --ehlo out1.example.com
    obm egress add 192.0.2.11 --ehlo out2.example.com --warmup default
    """
    given = normalize_addresses(addresses, remote=remote)

    console.print(
        run_in_routing(
            lambda routing: routing.add_source(pool=pool, addresses=given, ehlo=ehlo, ramp=warmup)
        ).egress_id
    )


@app.command()
def move(
    egress_id: str,
    addresses: Addresses,
    *,
    remote: Remote = False,
) -> None:
    """Change the addresses of an egress source. It keeps its id, pool and name.

    \b
    obm egress move 019ab000-0000-7000-8000-00000000000a 192.0.2.10 2001:db8::10
    """
    given = normalize_addresses(addresses, remote=remote)

    run_in_routing(lambda routing: routing.move_source(egress_id, given))


def normalize_addresses(addresses: list[str], *, remote: bool) -> list[str]:
    """Raises ConfigError."""
    given = [one for one in address_pair(addresses) if one]
    if not remote:
        for one in given:
            check_local(one)
    return given


@app.command()
def pause(egress_id: str) -> None:
    """Stop sending new messages from a source; retries use other sources."""
    change_source(egress_id, paused=True)


@app.command()
def resume(egress_id: str) -> None:
    """Use a paused source again."""
    change_source(egress_id, paused=False)


@app.command()
def remove(egress_id: str) -> None:
    """Remove a source permanently."""
    change_source(egress_id, deleted=True)


def change_source(
    egress_id: str, *, paused: bool | None = None, deleted: bool | None = None
) -> None:
    run_in_routing(lambda routing: routing.change_source(egress_id, paused=paused, deleted=deleted))


@app.command("list")
def list_egresses() -> None:
    """List the egress sources with their state: provisioning, warming, active, suspended, draining.

    `obm egress show` explains the problems.
    """
    pools, sources = run_in_routing(lambda routing: routing.pools()), asyncio.run(read_sources())
    names = {one.pool_id: one.name for one in pools}
    print_table(
        (
            *(id_column("egress"), "pool", "source addresses", "EHLO", "state"),
            *("warmup", "left today", "problems"),
        ),
        [row_of(one, pool=names.get(one.source.pool_id, one.source.pool_id)) for one in sources],
    )
    for name in exhausted_pools(pools, sources):
        console.print(
            f"Pool {name} has no usable egress source: its mail waits (no_egress). Add one with"
            f" `obm egress add ADDRESS --pool {name}`, or resume one."
        )


def row_of(one: Source, *, pool: str) -> tuple[str, ...]:
    source, warming = one.source, one.warmup.state.status not in ("", "finished")
    left = max(one.warmup.state.per_day - one.warmup.used, 0)
    return (
        source.egress_id,
        pool,
        addresses_of(source) or "(any)",
        source.ehlo or "(ROUTER_EHLO)",
        one.state,
        f"{one.warmup.state.stage + 1} of {one.warmup.stages}" if warming else "",
        f"{left:,}" if warming else "",
        " ".join(problem_names(one)),
    )


def addresses_of(source: EgressSource) -> str:
    return " ".join(filter(None, (source.source_ip, source.source_ipv6)))


def problem_names(one: Source) -> list[str]:
    return sorted({each.problem for each in one.problems} | ({"listed"} if one.listings else set()))


def exhausted_pools(pools: Sequence[Pool], sources: Sequence[Source]) -> list[str]:
    """The names of the pools without a usable source of their own, or a warm one to overflow to."""
    usable = {one.source.pool_id for one in sources if one.state in USABLE}
    warm = {one.source.pool_id for one in sources if one.state == SourceState.ACTIVE}
    return [
        one.name for one in pools if one.pool_id not in usable and one.overflow_pool_id not in warm
    ]


@app.command()
def show(source: Annotated[str, typer.Argument(help="Egress source, by id or address")]) -> None:
    """Show the state of a source, its warmup, and what to do about each problem.

    \b
    obm egress show 192.0.2.10
    """
    sources = asyncio.run(read_sources())
    found_id = find_source({one.source.egress_id: one.source for one in sources}, source)
    [one] = [one for one in sources if one.source.egress_id == found_id]
    state = one.warmup.state
    lines = [("egress", found_id), ("addresses", addresses_of(one.source) or "(any)")]
    lines += [("EHLO", one.source.ehlo or "(ROUTER_EHLO)"), ("state", one.state)]
    lines.append(("in flight", f"{one.in_flight:,}"))
    if one.HasField("warmup"):
        stage = f"stage {state.stage + 1} of {one.warmup.stages} ({state.ramp}), {state.status}"
        used = f", {one.warmup.used:,} of {state.per_day:,} used today"
        lines.append(("warmup", stage if state.status == "finished" else stage + used))
    lines += [(each.problem, each.advice) for each in one.problems]
    lines += [
        ("listed", f"{each.zone}, at {utc_time(each.changed_at)} UTC. Find the cause, then delist.")
        for each in one.listings
    ]
    print_table(("", ""), lines)
