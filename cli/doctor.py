"""`obm doctor`: what is wrong with the installation, and how to mend it."""

import socket
import ssl
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Annotated, Any, NamedTuple

import typer

from cli.api import Api, open_api
from cli.printing import console, print_table, utc_time
from cli.smtp_dialogue import DEADLINE_S, SmtpDialogue, reply_to_recipient
from services.delivery.domain.return_path_challenge import challenge_address, is_reply_with

PASSED, FAILED = "passed", "failed"
BOUNCE_MX = "bounce_mx"
ELSEWHERE = "another server, or an installation with other OBM_SECRET_KEYS"
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
        (return_path_answers(host, api.post("/health/challenges")) for host in bounces),
        (submission_answers(host) for host in hosts),
    )


def return_path_answers(host: str, given: Mapping[str, Any]) -> Row:
    """Whether the SMTP server is the return path of this installation. given: a challenge."""
    recipient = challenge_address(given["challenge"], host)
    try:
        reply = reply_to_recipient(host, SMTP, recipient)
    except OSError as error:
        return unanswered("bounce_mx_answers", host, str(error), port=SMTP)
    if is_reply_with(reply, given["responses"]):
        return Row("bounce_mx_answers", host, PASSED, "", f"is the return path, at port {SMTP}", "")
    return unanswered("bounce_mx_answers", host, f"{ELSEWHERE}: {reply}", port=SMTP)


def submission_answers(host: str) -> Row:
    """Whether an SMTP server greets by TLS, with a valid certificate, which proves whose it is."""
    check, port = "smtp_host_answers", SUBMISSIONS
    try:
        with socket.create_connection((host, port), DEADLINE_S) as plain:
            context = ssl.create_default_context()
            with context.wrap_socket(plain, server_hostname=host) as connection:
                greeting = SmtpDialogue(connection).read_reply()
    except OSError as error:  # of TLS too
        return unanswered(check, host, str(error), port=port)
    if greeting.startswith("220"):
        return Row(check, host, PASSED, "", f"answers at port {port}", "")
    return unanswered(check, host, greeting, port=port)


def unanswered(check: str, host: str, problem: str, *, port: int) -> Row:
    return Row(check, host, FAILED, "", f"port {port}: {problem}", ADVICE[port])
