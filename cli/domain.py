"""`obm domain`: what tenants may send from, and what its owner publishes in DNS."""

import asyncio
import os
import socket
from collections.abc import Sequence
from typing import Annotated

import typer
from rich.table import Table

from cli.customers import Customers, opened
from cli.printing import console, id_column
from contracts.ingest.v1.directory_pb2 import Domain
from kernel.errors import BadSetting
from mail.records import Record

app = typer.Typer(help="Sending domains.", no_args_is_help=True)

BounceMx = Annotated[str, typer.Option(help="host that takes bounces; default: this one")]
SpfInclude = Annotated[str, typer.Option(help="host whose SPF names our source addresses")]


@app.command()
def add(
    name: str,
    *,
    tenant: Annotated[str, typer.Option(help="id or name")],
    shared: Annotated[bool, typer.Option(help="every tenant of the account may use it")] = False,
    bounce_mx: BounceMx = "",
    spf_include: SpfInclude = "",
) -> None:
    """Add a domain with new DKIM keys, RSA-2048 and Ed25519; print what to publish."""

    async def work() -> tuple[Domain, Sequence[Record]]:
        async with opened() as customers:
            domain = await customers.add_domain(name, tenant=tenant, shared=shared)
            return domain, wanted(customers, domain, bounce_mx, spf_include=spf_include)

    domain, records = asyncio.run(work())
    console.print(domain.domain_id)
    publish(domain.name, records)


@app.command("records")
def show_records(name: str, *, bounce_mx: BounceMx = "", spf_include: SpfInclude = "") -> None:
    """What the owner of a domain (its id or name) publishes in DNS."""

    async def work() -> list[tuple[Domain, Sequence[Record]]]:
        async with opened() as customers:
            found = await customers.store.named(Domain, name)
            return [
                (one, wanted(customers, one, bounce_mx, spf_include=spf_include)) for one in found
            ]

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

    table = Table(id_column("domain"), "name", id_column("tenant"), "shared", "return path")
    for one in asyncio.run(work()):
        shared = "yes" if one.shared else ""
        table.add_row(one.domain_id, one.name, one.tenant_id, shared, one.return_path_host)
    console.print(table)


def wanted(
    customers: Customers, domain: Domain, bounce_mx: str, *, spf_include: str
) -> Sequence[Record]:
    host = os.environ.get("ROUTER_EHLO") or socket.getfqdn()
    return customers.records(
        domain, bounce_mx=bounce_mx or host, spf_include=spf_include or f"_spf.{host}"
    )


def publish(name: str, records: Sequence[Record]) -> None:
    console.print(f"\nPublish for {name}:\n")
    for record in records:
        note = "" if record.required else "   ; recommended"
        console.print(f"{record.zone_line}{note}", markup=False)
