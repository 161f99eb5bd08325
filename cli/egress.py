"""`obm egress`: egress sources, the addresses that mail is sent from, with their EHLO names."""

from typing import Annotated

import typer

from cli.options import noun
from cli.printing import console, id_column, print_table
from cli.routing import address_pair, check_local, run_in_routing

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
    """List the egress sources."""

    print_table(
        (id_column("egress"), id_column("pool"), "source addresses", "EHLO", "paused"),
        (
            (
                one.egress_id,
                one.pool_id,
                " ".join(filter(None, (one.source_ip, one.source_ipv6))) or "(any)",
                one.ehlo or "(ROUTER_EHLO)",
                str(one.paused),
            )
            for one in run_in_routing(lambda routing: routing.egresses())
        ),
    )
