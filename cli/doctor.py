"""`obm doctor`: what is wrong with the installation, and how to mend it."""

import socket
import ssl
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Annotated, Any, NamedTuple

import typer

from cli.api import Api, open_api
from cli.printing import console, print_table, utc_time

PASSED, FAILED = "passed", "failed"
BOUNCE_MX = "bounce_mx"
TIMEOUT_S = 10.0
GREETING_MAX = 512  # RFC 5321 §4.5.3.1.5
SMTP, SUBMISSIONS = 25, 465
ADVICE = {
    SMTP: "Let port 25 of it lead to delivery, and let firewalls admit everybody.",
    SUBMISSIONS: "Let port 465 of it lead to ingest, with a certificate for that name.",
}


class Row(NamedTuple):
    check: str
    subject: str
    status: str
    since: str
    detail: str
    advice: str


def doctor(
    *,
    every: Annotated[bool, typer.Option("--all", help="Show also what is well")] = False,
    from_here: Annotated[
        bool, typer.Option(help="Connect from this machine to the hosts that mail comes in by")
    ] = True,
    mark_read: Annotated[
        bool, typer.Option(help="Mark the refused mail that is shown as read")
    ] = False,
) -> None:
    """Check the installation, and print what is wrong and how to mend it.

    The engine checks its sources, pools, host names, clocks and keys; this machine connects to the
    hosts that others reach from outside, so run it outside. The exit status is 1 if a check fails.
    """
    api = open_api()
    rows = list(map(row_of, api.post("/health/checks")["checks"]))
    if from_here:
        rows += look_from_here(api, rows)
    print_rows([one for one in rows if every or one.status != PASSED])
    failures = sum(one.status == FAILED for one in rows)
    console.print(f"{len(rows)} checks, {failures} failed.")
    if mark_read:
        api.post("/health/bounces/read")
    if failures:
        raise typer.Exit(1)


def row_of(one: dict[str, Any]) -> Row:
    since = utc_time(one["since"])
    return Row(one["check"], one["subject"], one["status"], since, one["detail"], one["advice"])


def print_rows(rows: Iterable[Row]) -> None:
    if listed := list(rows):
        columns = ("Status", "Check", "Of", "Since (UTC)", "Found", "What to do")
        print_table(columns, [(one.status, one[0], one[1], one.since, *one[4:]) for one in listed])


def look_from_here(api: Api, rows: Iterable[Row]) -> Iterator[Row]:
    """Connections to the hosts of bounces and of submission."""
    bounces = [one.subject for one in rows if one.check == BOUNCE_MX]
    hosts = sorted({str(one["smtp_host"]) for one in api.items("/brands") if one["smtp_host"]})
    return chain(
        (answers("bounce_mx_answers", host, SMTP) for host in bounces),
        (answers("smtp_host_answers", host, SUBMISSIONS) for host in hosts),
    )


def answers(check: str, host: str, port: int) -> Row:
    """Whether an SMTP server greets; at the port of submission by TLS, with a valid certificate."""
    try:
        with socket.create_connection((host, port), TIMEOUT_S) as plain:
            if port == SMTP:
                greeting = plain.recv(GREETING_MAX)
            else:
                context = ssl.create_default_context()
                with context.wrap_socket(plain, server_hostname=host) as connection:
                    greeting = connection.recv(GREETING_MAX)
    except OSError as error:  # of TLS too
        return Row(check, host, FAILED, "", f"port {port}: {error}", ADVICE[port])
    text = greeting.decode("ascii", "replace").strip()
    if text.startswith("220"):
        return Row(check, host, PASSED, "", f"answers at port {port}", "")
    return Row(check, host, FAILED, "", f"port {port}: {text or 'no greeting'}", ADVICE[port])
