"""`obm egress`: egress sources, the addresses that mail is sent from, with their EHLO names."""

import socket
from collections.abc import Sequence
from ipaddress import ip_address
from operator import itemgetter
from typing import Annotated, Any

import typer

from cli.api import Api, open_api
from cli.options import noun
from cli.printing import console, id_column, print_table, utc_time
from kernel.errors import ConfigError

Addresses = Annotated[
    list[str],
    typer.Argument(
        help="Of this machine, or of --host: an IPv4 address, an IPv6 address, or one of each"
    ),
]
Remote = Annotated[
    bool, typer.Option(help="Accept addresses of another machine, where delivery runs")
]
EgressId = Annotated[str, typer.Argument(help="Egress source, by id or address")]
USABLE = ("warming", "active")

app = noun("Egress sources: source addresses with their EHLO names.")


@app.command()
def add(
    addresses: Addresses,
    *,
    pool: Annotated[str, typer.Option(help="Pool, by id or name")] = "default",
    ehlo: Annotated[
        str, typer.Option(help="EHLO name of the addresses; ROUTER_EHLO if empty")
    ] = "",
    host: Annotated[
        str, typer.Option(help="host:port of the machine that has them, with `obm egress-host`")
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
    obm egress add 192.0.2.12 --ehlo out3.example.com --host out3.example.com:1080
    """
    given = checked(addresses, remote=remote or bool(host))
    api = open_api()
    pool_id = api.find("pools", pool)["id"]
    body = {"addresses": given, "pool_id": pool_id, "ehlo": ehlo, "warmup": warmup}
    body["egress_host"] = host
    console.print(api.post("/ips", body)["id"])


@app.command()
def move(
    egress_id: EgressId,
    addresses: Addresses,
    *,
    host: Annotated[
        str | None,
        typer.Option(help="host:port of the machine that has them; empty: delivery has them"),
    ] = None,
    remote: Remote = False,
) -> None:
    """Change the addresses of an egress source, or the machine that has them. It keeps its id, pool
    and name.

    \b
    obm egress move 019ab000-0000-7000-8000-00000000000a 192.0.2.10 2001:db8::10
    obm egress move 192.0.2.10 192.0.2.10 --host out1.example.com:1080
    """
    given = checked(addresses, remote=remote or bool(host))
    api = open_api()
    body = {"addresses": given, **({} if host is None else {"egress_host": host})}
    api.patch(f"/ips/{find_source(api, egress_id)['id']}", body)


def checked(addresses: Sequence[str], *, remote: bool) -> list[str]:
    """Raises ConfigError unless this machine has the addresses, or remote is set."""
    given = [one for one in addresses if one]
    for one in [] if remote else given:
        check_local(one)
    return given


def check_local(source_ip: str) -> None:
    """Raises ConfigError if this machine cannot send from the address. What is no such address, the
    API refuses."""
    try:
        found = ip_address(source_ip)
    except ValueError:
        return
    if getattr(found, "scope_id", None) or getattr(found, "ipv4_mapped", None):
        return
    family = socket.AF_INET6 if found.version == 6 else socket.AF_INET
    try:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.bind((source_ip, 0))
    except OSError as error:
        raise ConfigError(
            f"{source_ip} is not an address of this machine ({error.strerror}). If "
            "delivery runs on another machine, add --remote."
        ) from error


@app.command()
def pause(
    egress_id: EgressId,
    hours: Annotated[
        float, typer.Option(help="Duration; 0: until it is resumed", min=0, max=24 * 30)
    ] = 0.0,
) -> None:
    """Stop sending new messages from a source; retries use other sources.

    \b
    obm egress pause 192.0.2.10
    obm egress pause 192.0.2.10 --hours 4
    """
    api = open_api()
    path = f"/ips/{find_source(api, egress_id)['id']}"
    if hours:
        api.post(f"{path}/suspend", {"until": f"in {round(hours * 3600)} seconds"})
    else:
        api.patch(path, {"paused": True})


@app.command()
def resume(egress_id: EgressId) -> None:
    """Use a paused source again."""
    api = open_api()
    api.post(f"/ips/{find_source(api, egress_id)['id']}/resume")


@app.command()
def remove(egress_id: EgressId) -> None:
    """Remove a source permanently."""
    api = open_api()
    api.delete(f"/ips/{find_source(api, egress_id)['id']}")


def find_source(api: Api, name: str) -> dict[str, Any]:
    """A source by id or address. Raises ConfigError."""
    found = [one for one in api.items("/ips") if name in (one["id"], *one["addresses"])]
    if not found:
        raise ConfigError(f"There is no egress source {name}. See `obm egress list`.")
    return found[0]


@app.command("list")
def list_egresses() -> None:
    """List the egress sources with their state: provisioning, warming, active, suspended, draining.

    `obm egress show` explains the problems.
    """
    api = open_api()
    pools = sorted(api.items("/pools"), key=itemgetter("id"))
    sources = sorted(api.items("/ips"), key=itemgetter("id"))
    names = {one["id"]: one["name"] for one in pools}
    print_table(
        (
            *(id_column("egress"), "pool", "source addresses", "EHLO", "state"),
            *("warmup", "left today", "problems"),
        ),
        [row_of(one, pool=names.get(one["pool_id"], one["pool_id"])) for one in sources],
    )
    for name in exhausted_pools(pools, sources):
        console.print(
            f"Pool {name} has no usable egress source: its mail waits (no_egress). Add one with"
            f" `obm egress add ADDRESS --pool {name}`, or resume one."
        )


def row_of(one: dict[str, Any], *, pool: str) -> tuple[str, ...]:
    warmup = one["warmup"] if one["warmup"] and one["warmup"]["enabled"] else None
    return (
        one["id"],
        pool,
        addresses_of(one),
        ehlo_of(one),
        one["state"],
        f"{warmup['stage']} of {warmup['of']}" if warmup else "",
        f"{max(warmup['allowance_today'] - warmup['sent'], 0):,}" if warmup else "",
        " ".join(problem_names(one)),
    )


def addresses_of(one: dict[str, Any]) -> str:
    return " ".join(one["addresses"]) or "(any)"


def ehlo_of(one: dict[str, Any]) -> str:
    return one["ehlo"] or "(ROUTER_EHLO)"


def problem_names(one: dict[str, Any]) -> list[str]:
    listed = {"listed"} if one["dnsbl"] else set()
    return sorted({each["problem"] for each in one["problems"]} | listed)


def exhausted_pools(
    pools: Sequence[dict[str, Any]], sources: Sequence[dict[str, Any]]
) -> list[str]:
    """The names of the pools without a usable source of their own, or a warm one to overflow to."""
    usable = {one["pool_id"] for one in sources if one["state"] in USABLE}
    warm = {one["pool_id"] for one in sources if one["state"] == "active"}
    return [
        one["name"]
        for one in pools
        if one["id"] not in usable and one["overflow_pool_id"] not in warm
    ]


@app.command()
def show(source: EgressId) -> None:
    """Show the state of a source, its warmup, and what to do about each problem.

    \b
    obm egress show 192.0.2.10
    """
    api = open_api()
    one = find_source(api, source)
    lines = [("egress", one["id"]), ("addresses", addresses_of(one))]
    if host := one["egress_host"]:
        lines.append(("egress host", host))
    lines += [("EHLO", ehlo_of(one)), ("state", one["state"])]
    if until := one["suspended_until"]:
        lines.append(("suspended", f"until {utc_time(until)} UTC"))
    lines.append(("in flight", f"{one['in_flight']:,}"))
    if warmup := one["warmup"]:
        stage = f"stage {warmup['stage']} of {warmup['of']} ({warmup['ramp']}), {warmup['status']}"
        if warmup["enabled"]:
            stage += f", {warmup['sent']:,} of {warmup['allowance_today']:,} used today"
        lines.append(("warmup", stage))
    lines += [(each["problem"], each["advice"]) for each in one["problems"]]
    lines += [
        (
            "listed",
            f"{each['address']} in {each['blocklist']} since {utc_time(each['found_at'])} UTC:"
            f" {each['meaning']}. {each['text'] or ''}".rstrip(),
        )
        for each in one["dnsbl"]
    ]
    ended = api.get(f"/ips/{one['id']}")["dnsbl_history"]
    lines += [
        (
            "was listed",
            f"{each['address']} in {each['blocklist']} until {utc_time(each['ended_at'])} UTC",
        )
        for each in ended
    ]
    print_table(("", ""), lines)
