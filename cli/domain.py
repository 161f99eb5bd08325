"""`obm domain`: domains that tenants send from, and their DNS records."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from cli.api import Api, open_api
from cli.domain_reports import add_commands
from cli.options import TenantOption, noun
from cli.printing import console, id_column, print_table
from mail.records import DnsRecord, Purpose

app = noun("Sending domains.")
add_commands(app)

Domain = Annotated[str, typer.Argument(help="Domain, by id or name")]


@app.command()
def add(
    name: str,
    *,
    tenant: TenantOption,
    shared: Annotated[
        bool, typer.Option(help="Allow all tenants of the account to use it")
    ] = False,
    verified: Annotated[
        bool,
        typer.Option(
            help="Vouch for the domain: live mail can be sent without a check of its DNS records"
        ),
    ] = False,
) -> None:
    """Add a domain with new DKIM keys (RSA-2048 and Ed25519) and print its DNS records. Live mail
    can be sent once the engine has found them.

    \b
    obm domain add shop.example.net --tenant shop
    """
    api = open_api()
    owner = api.find("tenants", tenant)
    new = {"name": name, "shared": shared, "vouched": verified}
    domain = api.post("/domains", new, tenant_id=owner["id"])
    console.print(domain["id"])
    print_records(domain)


@app.command("records")
def list_records(domain: Domain) -> None:
    """Print the DNS records of a domain."""
    print_records(find(open_api(), domain))


@app.command()
def show(domain: Domain) -> None:
    """Print the status of a domain, and what the last check has found."""
    found = find(open_api(), domain)
    vouched = " (vouched for)" if found["vouched"] else ""
    console.print(f"{found['name']}: {status_of(found)}{vouched}")
    if certificate := found["tracking_certificate"]:
        problem = f" ({certificate['problem']})" if certificate["problem"] else ""
        console.print(f"certificate for links: {certificate['status']}{problem}", markup=False)
    for one in found["records"] if found["checked_at"] else ():
        console.print(f"{one['status']:<18} {one['type']:<4} {one['name']}", markup=False)
        if one["problem"]:
            console.print(f"  {one['problem']}", markup=False)


@app.command()
def verify(domain: Domain) -> None:
    """Let the engine check the DNS records of a domain now; `obm domain show` has the result.

    \b
    obm domain verify shop.example.net
    """
    api = open_api()
    found = api.find("domains", domain)
    api.post(f"/domains/{found['id']}/verify", tenant_id=found["tenant_id"])


@app.command()
def track(
    domain: Domain,
    *,
    opens: Annotated[bool | None, typer.Option(help="Track opens by a pixel")] = None,
    clicks: Annotated[bool | None, typer.Option(help="Track the links of html")] = None,
    mode: Annotated[
        str | None,
        typer.Option(help="What is kept: anonymous, pseudonymous, identified or full"),
    ] = None,
    untracked: Annotated[
        list[str] | None,
        typer.Option(metavar="HOST", help="Do not track links to this host, repeated; '': none"),
    ] = None,
    subdomain: Annotated[
        str | None,
        typer.Option(metavar="LABEL", help="Lead links over a host below the domain; '': none"),
    ] = None,
) -> None:
    """Say what is tracked in the mail of a domain, and print it.

    \b
    obm domain track shop.example.net --opens --clicks --untracked bank.example
    obm domain track shop.example.net --subdomain links
    """
    api = open_api()
    found = api.find("domains", domain)
    given = {
        "open_tracking": opens, "click_tracking": clicks, "tracking_mode": mode,
        "tracking_subdomain": subdomain,
    }  # fmt: skip
    changes: dict[str, object] = {name: value for name, value in given.items() if value is not None}
    if untracked is not None:
        changes["untracked_hosts"] = [host for host in untracked if host]
    path = f"/domains/{found['id']}"
    changed = api.patch(path, changes, tenant_id=found["tenant_id"])
    console.print(f"opens: {'yes' if changed['open_tracking'] else 'no'}")
    console.print(f"clicks: {'yes' if changed['click_tracking'] else 'no'}")
    console.print(f"mode: {changed['tracking_mode']}")
    for host in changed["untracked_hosts"]:
        console.print(f"not to: {host}", markup=False)
    for one in changed["records"] if changed["tracking_subdomain"] else ():
        if one["record"] == "Tracking":
            console.print(f"over: {one['name']} ({one['status']})")
            console.print(f"publish: {record_of(one).zone_line}", markup=False)


@app.command("tls")
def change_tls(
    domain: Domain,
    *,
    enforced: Annotated[
        bool,
        typer.Option(
            "--enforced/--opportunistic",
            help="Send only to servers with TLS and a valid certificate, or with any TLS or none",
        ),
    ],
) -> None:
    """Say what TLS the mail of a domain must have from now on.

    \b
    obm domain tls shop.example.net --enforced
    """
    api = open_api()
    found = api.find("domains", domain)
    changes = {"tls": "enforced" if enforced else "opportunistic"}
    changed = api.patch(f"/domains/{found['id']}", changes, tenant_id=found["tenant_id"])
    console.print(f"tls: {changed['tls']}")


@app.command()
def rotate_dkim(domain: Domain) -> None:
    """Add new DKIM keys and print the records. The new keys sign once the engine has found their
    records in DNS; keep the old records for seven days more.

    \b
    obm domain rotate-dkim shop.example.net
    """
    api = open_api()
    found = api.find("domains", domain)
    print_records(api.post(f"/domains/{found['id']}/rotate-dkim", tenant_id=found["tenant_id"]))


@app.command()
def zone(name: Annotated[str, typer.Argument(help="The DKIM zone of a brand")]) -> None:
    """Print the TXT records that a DKIM zone has to publish, as lines of a zone file (RFC 1035).

    \b
    obm domain zone dkim.mail.example
    """
    for entry in open_api().items("/dkim-zone", zone=name):
        for one in entry["records"]:
            record = DnsRecord(Purpose.DKIM, one["name"], one["type"], one["value"])
            console.print(record.zone_line, markup=False)


@app.command("list")
def list_domains() -> None:
    """List the domains."""
    print_table(
        (id_column("domain"), "name", "status", id_column("tenant"), "shared", "return path"),
        (
            (
                one["id"],
                one["name"],
                status_of(one),
                one["tenant_id"],
                "yes" * one["shared"],
                one["return_path"],
            )
            for one in open_api().items("/domains")
        ),
    )


@app.command()
def remove(
    domain: Domain,
    *,
    force: Annotated[
        bool, typer.Option(help="Also while mail from it waits, and with its mailboxes")
    ] = False,
) -> None:
    """Remove a domain. Nothing is sent from it any more; with --force, its queued mail fails, and
    its mailboxes are deleted."""
    api = open_api()
    found = api.find("domains", domain)
    query = "?force=true" if force else ""
    api.delete(f"/domains/{found['id']}{query}", tenant_id=found["tenant_id"])


def find(api: Api, domain: str) -> dict[str, Any]:
    """A domain with its records, by id or name. Raises ConfigError."""
    found = api.find("domains", domain)
    return api.get(f"/domains/{found['id']}", tenant_id=found["tenant_id"])


def status_of(domain: Mapping[str, Any]) -> str:
    return "paused" if domain["paused"] else str(domain["status"])


def print_records(domain: Mapping[str, Any]) -> None:
    console.print(f"\nPublish for {domain['name']}:\n")
    for one in domain["records"]:
        record = record_of(one)
        note = "" if record.required else "   ; recommended"
        console.print(f"{record.zone_line}{note}", markup=False)


def record_of(one: Mapping[str, Any]) -> DnsRecord:
    """A record of the API."""
    return DnsRecord(
        Purpose(one["record"].lower()), one["name"], one["type"], one["value"],
        priority=one.get("priority"), required=one["required"],
    )  # fmt: skip
