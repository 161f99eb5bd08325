"""`obm domain dmarc` and `tls-reports`: what receivers and other servers report about a domain."""

from typing import Annotated, Any

import typer

from cli.api import open_api
from cli.printing import console, print_table

Domain = Annotated[str, typer.Argument(help="Domain, by id or name")]
Since = Annotated[str, typer.Option(help="First day in UTC; by default six days before the last")]
Until = Annotated[str, typer.Option(help="Last day in UTC; by default today")]


def add_commands(app: typer.Typer) -> None:
    app.command("dmarc")(show_dmarc)
    app.command("tls-reports")(show_tls_reports)


def show_dmarc(domain: Domain, *, since: Since = "", until: Until = "") -> None:
    """Print who sends as a domain, by the DMARC reports of receivers.

    They arrive once the DMARC record of the domain names the address that `obm domain records`
    prints. `others` did not come from this engine.

    \b
    obm domain dmarc shop.example.net --since 2026-01-01 --until 2026-01-31
    """
    found = reports_of(domain, "dmarc", since=since, until=until)
    console.print(
        f"{found['since']} to {found['until']}: reports: {found['reports']:,},"
        f" messages: {found['messages']:,}, passed DMARC: {found['aligned']:,}"
    )
    print_table(
        ("source", "messages", "sent by", "DKIM", "SPF", "receivers did"),
        (
            (
                one["source_ip"] or "unknown",
                f"{one['messages']:,}",
                "this engine" if one["own"] else "others",
                outcome(one["dkim_domain"], passed=one["dkim_aligned"]),
                outcome(one["spf_domain"], passed=one["spf_aligned"]),
                one["disposition"],
            )
            for one in found["sources"]
        ),
    )


def show_tls_reports(domain: Domain, *, since: Since = "", until: Until = "") -> None:
    """Print how other servers reach the mail servers of a domain, by their TLS reports.

    \b
    obm domain tls-reports shop.example.net
    """
    found = reports_of(domain, "tls-reports", since=since, until=until)
    console.print(
        f"{found['since']} to {found['until']}: reports: {found['reports']:,},"
        f" sessions: {found['sessions']:,}, successful: {found['successful']:,}"
    )
    print_table(
        ("result", "sessions", "policy", "to", "from"),
        (
            (one["result"], f"{one['sessions']:,}", one["policy"], one["host"], one["sending_ip"])
            for one in found["results"]
        ),
    )


def reports_of(domain: str, kind: str, *, since: str, until: str) -> dict[str, Any]:
    api = open_api()
    found = api.find("domains", domain)
    path = f"/domains/{found['id']}/{kind}"
    return api.get(path, tenant_id=found["tenant_id"], since=since, until=until)


def outcome(domain: str, *, passed: bool) -> str:
    """`aligned` alone says that it passed for the domain of From."""
    return ("aligned" if passed else "not aligned") + f" ({domain})" * bool(domain)
