"""`obm domain`: what tenants may send from, and what its owner publishes in DNS."""

import asyncio
import os
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import typer

from cli.customers import Customers, opened
from cli.options import noun
from cli.printing import console, id_column, print_table
from contracts.ingest.v1.directory_pb2 import Domain
from kernel.errors import BadSetting
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
    hosts = published(bounce_mx, spf_include)

    async def work() -> tuple[Domain, Sequence[Record]]:
        async with opened() as customers:
            domain = await customers.add_domain(name, tenant=tenant, shared=shared)
            return domain, wanted(customers, domain, hosts)

    domain, records = asyncio.run(work())
    console.print(domain.domain_id)
    publish(domain.name, records)


@app.command("records")
def show_records(name: str, *, bounce_mx: BounceMx = "", spf_include: SpfInclude = "") -> None:
    """What the owner of a domain (its id or name) publishes in DNS."""
    hosts = published(bounce_mx, spf_include)

    async def work() -> list[tuple[Domain, Sequence[Record]]]:
        async with opened() as customers:
            found = await customers.store.named(Domain, name)
            return [(one, wanted(customers, one, hosts)) for one in found]

    found = asyncio.run(work())
    if not found:
        raise BadSetting(f"there is no domain {name!r}: see `obm domain list`")
    for domain, records in found:
        publish(domain.name, records)


@app.command("list")
def show() -> None:
    """All domains."""

    async def work() -> list[Domain]:
        async with opened() as customers:
            return await customers.store.every(Domain)

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
        async with opened() as customers:
            await customers.remove(Domain, domain_id)

    asyncio.run(work())


@dataclass(frozen=True, slots=True)
class Hosts:
    """Our own names in what customers publish."""

    bounce_mx: str
    spf_include: str


def published(bounce_mx: str, spf_include: str) -> Hosts:
    """Asked before anything is made, for what is published stays. Raises BadSetting."""
    host = bounce_mx or os.environ.get("ROUTER_EHLO", "")
    if not host:
        raise BadSetting(
            "name the host that customers are to publish: --bounce-mx mx.example.com (or "
            "OBM_BOUNCE_MX), or set ROUTER_EHLO"
        )
    hosts = Hosts(host, spf_include or f"_spf.{host}")
    for name in (hosts.bounce_mx, hosts.spf_include):
        if "." not in name.removeprefix("_spf.").strip("."):
            raise BadSetting(f"{name!r} is not a name that others can look up")
    return hosts


def wanted(customers: Customers, domain: Domain, hosts: Hosts) -> Sequence[Record]:
    return customers.records(domain, bounce_mx=hosts.bounce_mx, spf_include=hosts.spf_include)


def publish(name: str, records: Sequence[Record]) -> None:
    console.print(f"\nPublish for {name}:\n")
    for record in records:
        note = "" if record.required else "   ; recommended"
        console.print(f"{record.zone_line}{note}", markup=False)
