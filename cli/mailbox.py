"""`obm mailbox`: usernames and passwords for SMTP submission."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated, NamedTuple

import typer

from cli.directory import open_directory, user
from cli.options import noun
from cli.policies import find_mailbox, find_tenant, read_mailboxes, read_tenants
from cli.printing import console, id_column, print_table
from contracts.ingest.v1.directory_pb2 import Mailbox, MailboxStatus
from kernel import clock
from kernel.errors import ConfigError
from services.ingest.api.administration.api_keys import DAY_S, GRACE_MAX_S
from services.ingest.api.administration.mailboxes import (
    CreateMailboxRequest,
    MailboxLimits,
    check_free,
    new_mailbox,
    replace_password,
)
from services.ingest.domain.mailbox import is_active
from services.ingest.domain.problem import Problem
from services.ingest.store.directory import DirectoryChange

app = noun("Mailboxes: usernames and passwords for SMTP submission.")

MailboxArgument = Annotated[
    str, typer.Argument(metavar="MAILBOX", help="Mailbox, by id or address")
]
Limit = Annotated[int, typer.Option(min=0, help="Messages in this period; 0: no limit")]


@app.command()
def create(  # noqa: PLR0913 - an option for each
    address: Annotated[str, typer.Argument(help="Address, which is the username too")],
    *,
    tenant: Annotated[str, typer.Option(help="Tenant, by id or name")],
    test: Annotated[
        bool, typer.Option("--test/--live", help="Mail of test mailboxes goes to the sandbox")
    ],
    name: Annotated[str, typer.Option(help="Display name")] = "",
    any_address: Annotated[
        bool, typer.Option(help="Allow every address of the domain in From")
    ] = False,
    per_second: Limit = 0,
    per_hour: Limit = 0,
    per_day: Limit = 0,
) -> None:
    """Create a mailbox and print its password. It is not stored and cannot be retrieved later.

    \b
    obm mailbox create ann@shop.example.net --tenant shop --live --per-day 500
    obm mailbox create printer@shop.example.net --tenant shop --live --any-address

    A mail program uses the address as the username, at the ports of submission: 587 with STARTTLS
    or 465 with TLS. From must be the address. The domain must be one of the tenant's, and verified
    for a live mailbox: see `obm domain show`.
    """
    given = CreateMailboxRequest(
        address=address,
        name=" ".join(name.split()),
        any_address=any_address,
        limits=MailboxLimits(per_second=per_second, per_hour=per_hour, per_day=per_day),
    )
    console.print(asyncio.run(add_mailbox(tenant, given, test=test)))


async def add_mailbox(tenant: str, given: CreateMailboxRequest, *, test: bool) -> str:
    """Returns the password."""
    tenants = await read_tenants()
    tenant_id = find_tenant(tenants, tenant)
    [owner] = [one for one in tenants if one.tenant_id == tenant_id]
    async with open_directory() as directory:
        domains = {
            one.name: one for one in await directory.list_domains(tenant_id, owner.account_id)
        }
        try:
            new = new_mailbox(given, domains, tenant_id=tenant_id, test=test)
            async with directory.changing(user()) as change:
                await check_free(change, [new.mailbox], [""])
                await change.save(new.mailbox)
        except Problem as problem:
            raise ConfigError(problem.detail) from problem
    return new.password


@app.command()
def rotate(
    mailbox: MailboxArgument,
    *,
    grace_s: Annotated[
        int, typer.Option(min=0, max=GRACE_MAX_S, help="Seconds that the old password still works")
    ] = DAY_S,
) -> None:
    """Replace the password of a mailbox and print the new one. The old one works for a day more;
    one before it, no longer.

    \b
    obm mailbox rotate ann@shop.example.net --grace-s 3600
    obm mailbox rotate ann@shop.example.net --grace-s 0        the old one has leaked
    """

    async def work() -> str:
        async with changing(mailbox) as opened:
            now_s = int(clock.now().timestamp())
            password = replace_password(opened.mailbox, now_s=now_s, grace_s=grace_s)
            await opened.change.save(opened.mailbox, "rotate")
            return password

    console.print(asyncio.run(work()))


@app.command()
def pause(mailbox: MailboxArgument) -> None:
    """Refuse the logins and the mail of a mailbox, within a second, until it is resumed."""
    set_status(mailbox, MailboxStatus.MAILBOX_STATUS_PAUSED)


@app.command()
def resume(mailbox: MailboxArgument) -> None:
    """Let a paused mailbox log in and send again."""
    set_status(mailbox, MailboxStatus.MAILBOX_STATUS_ACTIVE)


def set_status(name: str, status: MailboxStatus.ValueType) -> None:
    async def work() -> None:
        async with changing(name) as opened:
            opened.mailbox.status = status
            await opened.change.save(opened.mailbox)

    asyncio.run(work())


@app.command()
def delete(mailbox: MailboxArgument) -> None:
    """Delete a mailbox. Its sessions are refused within a second; what it has sent is delivered."""

    async def work() -> str:
        async with changing(mailbox) as opened:
            opened.mailbox.deleted = True
            await opened.change.save(opened.mailbox)
            return opened.mailbox.mailbox_id

    console.print(f"deleted {asyncio.run(work())}")


class OpenedMailbox(NamedTuple):
    """A mailbox, and the change of the directory to save it in."""

    mailbox: Mailbox
    change: DirectoryChange


@asynccontextmanager
async def changing(name: str) -> AsyncIterator[OpenedMailbox]:
    """name: id or address. Raises ConfigError."""
    mailbox_id = find_mailbox(await read_mailboxes(), name)
    async with open_directory() as directory, directory.changing(user()) as change:
        if (mailbox := await change.find(Mailbox, mailbox_id)) is None:
            raise ConfigError(f"The mailbox {name} is deleted.")
        yield OpenedMailbox(mailbox, change)


@app.command("list")
def list_mailboxes(
    tenant: Annotated[str, typer.Option(help="Only this tenant's, by id or name")] = "",
) -> None:
    """List the mailboxes, without their passwords."""
    tenant_id = find_tenant(asyncio.run(read_tenants()), tenant) if tenant else ""
    found = asyncio.run(read_mailboxes()).values()
    print_table(
        (id_column("mailbox"), id_column("tenant"), "address", "mode", "status", "from", "limits"),
        (_row_of(one) for one in found if tenant_id in ("", one.tenant_id)),
    )


def _row_of(one: Mailbox) -> tuple[str, ...]:
    periods = (("s", one.per_second_max), ("h", one.per_hour_max), ("d", one.per_day_max))
    return (
        one.mailbox_id,
        one.tenant_id,
        one.address,
        "test" if one.test else "live",
        "active" if is_active(one) else "paused",
        "its domain" if one.any_address else "its address",
        ", ".join(f"{limit:,}/{period}" for period, limit in periods if limit),
    )
