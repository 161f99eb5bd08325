"""`obm domain`: domains that tenants send from, and their DNS records."""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from cli.directory import DirectoryAdmin, open_directory, run_in_directory
from cli.options import noun
from cli.printing import console, id_column, print_table
from contracts.ingest.v1.directory_pb2 import Domain
from kernel.errors import ConfigError
from mail.records import DnsRecord
from services.ingest.domain.verification import STATUSES

app = noun("Sending domains.")

BounceMx = Annotated[
    str,
    typer.Option(
        envvar="OBM_BOUNCE_MX", help="Host that receives bounces, for example mx.example.com"
    ),
]
SpfInclude = Annotated[
    str,
    typer.Option(
        envvar="OBM_SPF_INCLUDE",
        help="Name whose SPF record lists the source addresses; default: _spf. before "
        "the bounce host",
    ),
]


@app.command()
def add(
    name: str,
    *,
    tenant: Annotated[str, typer.Option(help="Tenant, by id or name")],
    shared: Annotated[
        bool, typer.Option(help="Allow all tenants of the account to use it")
    ] = False,
    verified: Annotated[
        bool,
        typer.Option(
            help="Vouch for the domain: live mail can be sent without a check of its DNS records"
        ),
    ] = False,
    bounce_mx: BounceMx = "",
    spf_include: SpfInclude = "",
) -> None:
    """Add a domain with new DKIM keys (RSA-2048 and Ed25519) and print its DNS records. Live mail
    can be sent once the engine has found them.

    \b
    obm domain add shop.example.net --tenant shop --bounce-mx mx.example.com
    """
    hosts = published_hosts(bounce_mx, spf_include)

    async def work() -> tuple[Domain, Sequence[DnsRecord]]:
        async with open_directory() as directory:
            domain = await directory.add_domain(
                name, tenant=tenant, shared=shared, verified=verified
            )
            return domain, records_of(directory, domain, hosts)

    domain, records = asyncio.run(work())
    console.print(domain.domain_id)
    print_records(domain.name, records)


@app.command("records")
def list_records(name: str, *, bounce_mx: BounceMx = "", spf_include: SpfInclude = "") -> None:
    """Print the DNS records of a domain, given by id or name."""
    hosts = published_hosts(bounce_mx, spf_include)

    async def work() -> list[tuple[Domain, Sequence[DnsRecord]]]:
        async with open_directory() as directory:
            found = await directory.store.find_by_id_or_name(Domain, name)
            return [(one, records_of(directory, one, hosts)) for one in found]

    found = asyncio.run(work())
    if not found:
        raise ConfigError(f"There is no domain {name!r}. See `obm domain list`.")
    for domain, records in found:
        print_records(domain.name, records)


@app.command()
def show(domain: str) -> None:
    """Print the status of a domain, given by id or name, and what the last check has found."""

    found, check = run_in_directory(lambda directory: directory.find_domain(domain))
    status = "paused" if found.paused else STATUSES[found.status]
    console.print(f"{found.name}: {status}{' (vouched for)' if found.vouched else ''}")
    for one in check.records:
        console.print(f"{one.status:<18} {one.type:<4} {one.name}", markup=False)
        if one.problem:
            console.print(f"  {one.problem}", markup=False)


@app.command()
def verify(domain: str) -> None:
    """Let the engine check the DNS records of a domain now; `obm domain show` has the result.

    \b
    obm domain verify shop.example.net
    """

    run_in_directory(lambda directory: directory.check_domain(domain))


@app.command()
def rotate_dkim(domain: str, *, bounce_mx: BounceMx = "", spf_include: SpfInclude = "") -> None:
    """Add new DKIM keys and print the records. The new keys sign once the engine has found their
    records in DNS; keep the old records for seven days more.

    \b
    obm domain rotate-dkim shop.example.net
    """
    hosts = published_hosts(bounce_mx, spf_include)

    async def work() -> tuple[Domain, Sequence[DnsRecord]]:
        async with open_directory() as directory:
            changed = await directory.rotate_dkim(domain)
            return changed, records_of(directory, changed, hosts)

    changed, records = asyncio.run(work())
    print_records(changed.name, records)


@app.command("list")
def list_domains() -> None:
    """List the domains."""

    print_table(
        (id_column("domain"), "name", "status", id_column("tenant"), "shared", "return path"),
        (
            (
                one.domain_id,
                one.name,
                "paused" if one.paused else STATUSES[one.status],
                one.tenant_id,
                "yes" * one.shared,
                one.return_path_host,
            )
            for one in run_in_directory(lambda directory: directory.store.list_all(Domain))
        ),
    )


@app.command()
def remove(domain_id: str) -> None:
    """Remove a domain. Nothing is sent from it any more; its queued mail fails."""

    run_in_directory(lambda directory: directory.remove(Domain, domain_id))


@dataclass(frozen=True, slots=True)
class Hosts:
    """Hosts of this installation that the DNS records of customers refer to."""

    bounce_mx: str
    spf_include: str


def published_hosts(bounce_mx: str, spf_include: str) -> Hosts:
    """Checked before the domain is added, because published records are hard to change. Raises
    ConfigError."""
    host = bounce_mx or os.environ.get("ROUTER_EHLO", "")
    if not host:
        raise ConfigError(
            "No host for the DNS records. Use --bounce-mx mx.example.com (or "
            "OBM_BOUNCE_MX), or set ROUTER_EHLO."
        )
    hosts = Hosts(host, spf_include or f"_spf.{host}")
    for name in (hosts.bounce_mx, hosts.spf_include):
        if "." not in name.removeprefix("_spf.").strip("."):
            raise ConfigError(f"{name!r} is not a public host name.")
    return hosts


def records_of(directory: DirectoryAdmin, domain: Domain, hosts: Hosts) -> Sequence[DnsRecord]:
    return directory.records(domain, bounce_mx=hosts.bounce_mx, spf_include=hosts.spf_include)


def print_records(name: str, records: Sequence[DnsRecord]) -> None:
    console.print(f"\nPublish for {name}:\n")
    for record in records:
        note = "" if record.required else "   ; recommended"
        console.print(f"{record.zone_line}{note}", markup=False)
