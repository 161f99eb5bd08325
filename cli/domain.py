"""`obm domain`: what tenants may send from, and what its owner publishes in DNS."""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from cli.directory import DirectoryAdmin, open_directory
from cli.options import noun
from cli.printing import console, id_column, print_table
from contracts.ingest.v1.directory_pb2 import Domain
from kernel.errors import ConfigError
from mail.records import Record

app = noun("Sending domains.")

BounceMx = Annotated[
    str,
    typer.Option(envvar="OBM_BOUNCE_MX", help="host that takes bounces, such as mx.example.com"),
]
SpfInclude = Annotated[
    str,
    typer.Option(
        envvar="OBM_SPF_INCLUDE",
        help="name whose SPF record lists our addresses; default: _spf. before the host above",
    ),
]


@app.command()
def add(
    name: str,
    *,
    tenant: Annotated[str, typer.Option(help="id or name")],
    shared: Annotated[bool, typer.Option(help="every tenant of the account may use it")] = False,
    bounce_mx: BounceMx = "",
    spf_include: SpfInclude = "",
) -> None:
    """Add a domain with new DKIM keys, RSA-2048 and Ed25519; print what to publish.

    \b
    obm domain add shop.example.net --tenant shop --bounce-mx mx.example.com
    """
    hosts = published_hosts(bounce_mx, spf_include)

    async def work() -> tuple[Domain, Sequence[Record]]:
        async with open_directory() as directory:
            domain = await directory.add_domain(name, tenant=tenant, shared=shared)
            return domain, records_of(directory, domain, hosts)

    domain, records = asyncio.run(work())
    console.print(domain.domain_id)
    print_records(domain.name, records)


@app.command("records")
def list_records(name: str, *, bounce_mx: BounceMx = "", spf_include: SpfInclude = "") -> None:
    """What the owner of a domain (its id or name) publishes in DNS."""
    hosts = published_hosts(bounce_mx, spf_include)

    async def work() -> list[tuple[Domain, Sequence[Record]]]:
        async with open_directory() as directory:
            found = await directory.store.find_by_id_or_name(Domain, name)
            return [(one, records_of(directory, one, hosts)) for one in found]

    found = asyncio.run(work())
    if not found:
        raise ConfigError(f"there is no domain {name!r}: see `obm domain list`")
    for domain, records in found:
        print_records(domain.name, records)


@app.command("list")
def list_domains() -> None:
    """All domains."""

    async def work() -> list[Domain]:
        async with open_directory() as directory:
            return await directory.store.list_all(Domain)

    print_table(
        (id_column("domain"), "name", id_column("tenant"), "shared", "return path"),
        (
            (one.domain_id, one.name, one.tenant_id, "yes" * one.shared, one.return_path_host)
            for one in asyncio.run(work())
        ),
    )


@app.command()
def remove(domain_id: str) -> None:
    """Nothing is sent from it any more; mail that waits fails."""

    async def work() -> None:
        async with open_directory() as directory:
            await directory.remove(Domain, domain_id)

    asyncio.run(work())


@dataclass(frozen=True, slots=True)
class Hosts:
    """Our own names in what customers publish."""

    bounce_mx: str
    spf_include: str


def published_hosts(bounce_mx: str, spf_include: str) -> Hosts:
    """Asked before anything is made, for what is published stays. Raises ConfigError."""
    host = bounce_mx or os.environ.get("ROUTER_EHLO", "")
    if not host:
        raise ConfigError(
            "name the host that customers are to publish: --bounce-mx mx.example.com (or "
            "OBM_BOUNCE_MX), or set ROUTER_EHLO"
        )
    hosts = Hosts(host, spf_include or f"_spf.{host}")
    for name in (hosts.bounce_mx, hosts.spf_include):
        if "." not in name.removeprefix("_spf.").strip("."):
            raise ConfigError(f"{name!r} is not a name that others can look up")
    return hosts


def records_of(directory: DirectoryAdmin, domain: Domain, hosts: Hosts) -> Sequence[Record]:
    return directory.records(domain, bounce_mx=hosts.bounce_mx, spf_include=hosts.spf_include)


def print_records(name: str, records: Sequence[Record]) -> None:
    console.print(f"\nPublish for {name}:\n")
    for record in records:
        note = "" if record.required else "   ; recommended"
        console.print(f"{record.zone_line}{note}", markup=False)
