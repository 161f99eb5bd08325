"""`obm mailbox`: usernames and passwords for SMTP submission."""

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from cli.api import Api, open_api
from cli.options import TenantOption, noun
from cli.printing import console, id_column, print_table
from cli.tenant import given

app = noun("Mailboxes: usernames and passwords for SMTP submission.")

DAY_S = 86_400
PERIODS = (("per_second", "s"), ("per_hour", "h"), ("per_day", "d"))

MailboxArgument = Annotated[
    str, typer.Argument(metavar="MAILBOX", help="Mailbox, by id or address")
]
Limit = Annotated[
    int | None, typer.Option(min=0, help="Maximum of its messages in this period; 0: no limit")
]
AnyAddress = Annotated[
    bool | None,
    typer.Option(
        "--any-address/--own-address", help="From can be every address of the domain, or only its"
    ),
]


@app.command()
def create(  # noqa: PLR0913 - an option for each
    address: Annotated[str, typer.Argument(help="Address, which is the username too")],
    *,
    tenant: TenantOption,
    test: Annotated[
        bool, typer.Option("--test/--live", help="Mail of test mailboxes goes to the sandbox")
    ],
    name: Annotated[str, typer.Option(help="Display name")] = "",
    any_address: AnyAddress = None,
    per_second: Limit = None,
    per_hour: Limit = None,
    per_day: Limit = None,
) -> None:
    """Create a mailbox and print its password. It is not stored and cannot be retrieved later.

    \b
    obm mailbox create ann@shop.example.net --tenant shop --live --per-day 500
    obm mailbox create printer@shop.example.net --tenant shop --live --any-address

    A mail program uses the address as the username; `obm mailbox show` prints the host and the
    ports. From must be the address. The domain must be one of the tenant's, and verified for a live
    mailbox: see `obm domain show`.
    """
    api = open_api()
    new = {
        "address": address,
        "test": test,
        "name": " ".join(name.split()),
        "any_address": bool(any_address),
        "limits": limits_of(per_second, per_hour, per_day),
    }
    owner = api.find("tenants", tenant)
    console.print(api.post("/mailboxes", new, tenant_id=owner["id"])["password"])


@app.command()
def change(
    mailbox: MailboxArgument,
    *,
    name: Annotated[str | None, typer.Option(help="Display name")] = None,
    any_address: AnyAddress = None,
    per_second: Limit = None,
    per_hour: Limit = None,
    per_day: Limit = None,
) -> None:
    """Change the given options of a mailbox. They are in force within a second.

    \b
    obm mailbox change ann@shop.example.net --per-day 1000
    obm mailbox change printer@shop.example.net --own-address
    """
    api = open_api()
    found = api.find("mailboxes", mailbox)
    limits = limits_of(per_second, per_hour, per_day)
    if limits:
        limits = {one: value or 0 for one, value in {**found["limits"], **limits}.items()}
    changes = {"name": name, "any_address": any_address, "limits": limits or None}
    api.patch(f"/mailboxes/{found['id']}", given(changes.items()))


@app.command()
def rotate(
    mailbox: MailboxArgument,
    *,
    grace_s: Annotated[
        int, typer.Option(min=0, help="Seconds that the old password still works, at most 7 days")
    ] = DAY_S,
    force: Annotated[
        bool, typer.Option(help="Also while the password before the old one works: it ends now")
    ] = False,
) -> None:
    """Replace the password of a mailbox and print the new one. The old one works for a day more.

    \b
    obm mailbox rotate ann@shop.example.net --grace-s 3600
    obm mailbox rotate ann@shop.example.net --grace-s 0 --force        the old one has leaked
    """
    api = open_api()
    path = f"/mailboxes/{api.find('mailboxes', mailbox)['id']}/rotate"
    console.print(api.post(path, {"grace_s": grace_s, "force": force})["password"])


@app.command()
def pause(mailbox: MailboxArgument) -> None:
    """Refuse the logins and the mail of a mailbox, within a second, until it is resumed."""
    set_status(mailbox, "paused")


@app.command()
def resume(mailbox: MailboxArgument) -> None:
    """Let a paused mailbox log in and send again."""
    set_status(mailbox, "active")


def set_status(mailbox: str, status: str) -> None:
    api = open_api()
    api.patch(f"/mailboxes/{api.find('mailboxes', mailbox)['id']}", {"status": status})


@app.command()
def delete(mailbox: MailboxArgument) -> None:
    """Delete a mailbox. Its sessions are refused within a second; what it has sent is delivered."""
    api = open_api()
    found = api.find("mailboxes", mailbox)
    api.delete(f"/mailboxes/{found['id']}")
    console.print(f"deleted {found['id']}")


@app.command()
def show(mailbox: MailboxArgument) -> None:
    """Print a mailbox, and the settings for a mail program."""
    found = open_api().find("mailboxes", mailbox)
    ports = found["smtp"]["ports"]
    for what, text in (
        ("id", found["id"]),
        ("tenant", found["tenant_id"]),
        ("username", found["username"]),
        ("name", found["name"]),
        ("mode", mode_of(found)),
        ("status", found["status"]),
        ("from", from_of(found)),
        ("limits", limits_text(found)),
        ("last used", found["last_used_at"]),
        ("old password works until", found["previous_password_expires_at"]),
        ("SMTP host", found["smtp"]["host"]),
        ("port with STARTTLS", ports["starttls"]),
        ("port with TLS", ports["tls"]),
    ):
        if text:
            console.print(f"{what:<25} {text}", markup=False)


@app.command("list")
def list_mailboxes(
    tenant: Annotated[str, typer.Option(help="Only this tenant's, by id or name")] = "",
) -> None:
    """List the mailboxes, without their passwords."""
    api = open_api()
    print_table(
        (
            *(id_column("mailbox"), id_column("tenant"), "address", "mode", "status"),
            *("from", "limits", "last used"),
        ),
        map(_row_of, api.items("/mailboxes", tenant_id=tenant_id(api, tenant))),
    )


def tenant_id(api: Api, tenant: str) -> str:
    """Empty without a tenant. Raises ConfigError."""
    return str(api.find("tenants", tenant)["id"]) if tenant else ""


def _row_of(one: Mapping[str, Any]) -> tuple[str, ...]:
    return (
        one["id"],
        one["tenant_id"],
        one["address"],
        mode_of(one),
        one["status"],
        from_of(one),
        limits_text(one),
        one["last_used_at"] or "",
    )


def mode_of(one: Mapping[str, Any]) -> str:
    return "test" if one["test"] else "live"


def from_of(one: Mapping[str, Any]) -> str:
    return "its domain" if one["any_address"] else "its address"


def limits_text(one: Mapping[str, Any]) -> str:
    found = ((one["limits"][name], period) for name, period in PERIODS)
    return ", ".join(f"{limit:,}/{period}" for limit, period in found if limit)


def limits_of(*limits: int | None) -> dict[str, Any]:
    """The given ones."""
    return given(zip((name for name, _ in PERIODS), limits, strict=True))
