"""`obm tail`: the events of emails as they happen."""

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import Annotated, Any
from urllib.parse import urlencode

import typer

from cli.api import Api, Refused, open_api
from cli.options import TenantOption
from cli.printing import console, printable, utc_time
from kernel.errors import ConfigError

RETRY_S = 2.0
RETRIED = {"rate_limit_exceeded", "service_unavailable", "application_error"}
DETAILS = ("bounce", "failed", "smtp", "click")

FilterOption = Annotated[str, typer.Option(help="Only events that match, as in a search")]


def tail(
    *,
    tenant: TenantOption = "",
    type_: Annotated[str, typer.Option("--type", help="Only these types, with commas")] = "",
    to: FilterOption = "",
    domain: FilterOption = "",
    tag: FilterOption = "",
    once: Annotated[bool, typer.Option("--once", help="End after the first event")] = False,
) -> None:
    """Print the events of emails as they happen, of a tenant, or of all with the key of an account.
    A connection that breaks goes on where it was.

    \b
    obm tail --type email.bounced,email.complained
    """
    api = open_api()
    tenant_id = str(api.find("tenants", tenant)["id"]) if tenant else ""
    given = {"type": type_, "to": to, "domain": domain, "tag": tag}
    wanted = {name: value for name, value in given.items() if value}
    for event in follow(api, wanted, tenant_id=tenant_id):
        console.print(line_of(event), highlight=False, markup=False, soft_wrap=True)
        if once:
            return


def follow(api: Api, wanted: dict[str, str], *, tenant_id: str) -> Iterator[dict[str, Any]]:
    """The events from now on. Raises ConfigError if the first connection fails, and Refused if the
    API no longer admits the key."""
    after = ""
    while True:
        query = urlencode({**wanted, "after": after} if after else wanted)
        lines = api.lines(f"/emails/events/stream?{query}", tenant_id=tenant_id)
        try:
            for message in messages(lines):
                after = message.get("id", after)
                if "id" in message and "data" in message:
                    yield json.loads(message["data"])
        except ConfigError as error:
            if not after or (isinstance(error, Refused) and error.name not in RETRIED):
                raise
        time.sleep(RETRY_S)


def messages(lines: Iterable[bytes]) -> Iterator[dict[str, str]]:
    """The fields of each message of a stream (WHATWG HTML §9.2.6)."""
    fields: dict[str, str] = {}
    for line in lines:
        name, _, value = line.decode().rstrip("\r\n").partition(": ")
        if name:
            fields[name] = value
        else:
            yield fields
            fields = {}


def line_of(event: dict[str, Any]) -> str:
    """Time, type and recipient, and what the receiving server said."""
    data, text = event["data"], ""
    for name in DETAILS:
        with suppress(KeyError, TypeError):
            found = data[name]
            text = text or str(found.get("message") or found.get("response") or found.get("link"))
    parts = (utc_time(event["created_at"]), event["type"], event["recipient"], text)
    return "  ".join(printable(part) for part in parts if part)
