"""`obm queues`: what waits in the router's scheduled queues, and how to cancel it."""

import asyncio
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated

import typer

from cli.environment import load_settings
from cli.options import noun
from cli.policies import find_tenant, read_tenants, utc_time
from cli.printing import console, print_table
from contracts.ingest.v1.events_pb2 import MessageContext
from kernel import clock
from kernel.database import Database, RowOwner
from kernel.errors import ConfigError
from kernel.outbox import Outbox
from kernel.topics import encode
from mail.address import AddressError
from services.ingest.api.cancellation import cancel_matching
from services.ingest.domain.waiting_filter import WaitingFilter
from services.ingest.settings import Settings as IngestSettings
from services.ingest.store.emails import EmailStore
from services.router.api.to_proto import queue as to_queue
from services.router.domain.admission import new_message
from services.router.domain.events import message_closed
from services.router.domain.message import State
from services.router.settings import Settings as RouterSettings
from services.router.store import requests, waiting_messages

PAGE = 500
TenantOption = Annotated[str, typer.Option("--tenant", help="Tenant, by id or name")]

app = noun("Scheduled queues: what waits, why, and how to cancel it.")


@dataclass(frozen=True, slots=True)
class StoredWaitingMail:
    """The waiting messages of a tenant, from the tables. Their events are committed with the
    changes; a running router publishes them within seconds."""

    tenant_id: str
    database: Database
    emails: EmailStore

    async def read_page(self, after: str) -> tuple[Sequence[tuple[MessageContext, str]], str]:
        async with self.database.transaction() as tx:
            found, next_id = await waiting_messages.read_page(tx, self.tenant_id, after=after)
        return [(MessageContext.FromString(one.context), one.site) for one in found], next_id

    async def cancel(self, contexts: Sequence[MessageContext]) -> int:
        outbox = Outbox(self.database, "router", never_sent)
        async with self.database.transaction() as tx:
            closed = await requests.cancel(
                tx, [new_message(one, State.CANCELED) for one in contexts]
            )
            now = clock.now()
            await outbox.add(tx, [encode(message_closed(one), now) for one in closed])
        return len(closed)

    async def tags_of(self, email_ids: Iterable[str]) -> Mapping[str, Mapping[str, str]]:
        return await self.emails.tags_of(self.tenant_id, email_ids)


async def never_sent(_: object) -> None:
    """The router sends what is in its outbox."""


@asynccontextmanager
async def open_waiting(tenant: str) -> AsyncIterator[StoredWaitingMail]:
    """tenant: id or name. Raises ConfigError."""
    router, ingest = load_settings(RouterSettings), load_settings(IngestSettings)
    tenant_id = find_tenant(await read_tenants(), tenant)
    own = Database(router.system_database_url, connections_max=1, name="obm")
    emails = Database(ingest.tenant_database_url, connections_max=1, name="obm")
    try:
        yield StoredWaitingMail(tenant_id, own, EmailStore(emails, return_path_key=b""))
    finally:
        await own.close()
        await emails.close()


@app.command("list")
def list_queues(*, tenant: TenantOption) -> None:
    """List the queues of a tenant: how much waits, because of what, and until when (UTC).

    \b
    obm queues list --tenant shop
    """

    async def work() -> list[requests.QueueView]:
        async with open_waiting(tenant) as waiting, waiting.database.transaction() as tx:
            return await requests.load_queue_views(
                tx, RowOwner(waiting.tenant_id, None), after="", limit=PAGE, test_only=False
            )

    print_table(
        ("site", "priority", "queued", "because of", "limit of", "continues"),
        (
            (
                one.site,
                one.priority,
                f"{one.queued:,}",
                one.limited_by,
                one.limit_scope,
                utc_time(one.next_at) if one.next_at.seconds else "",
            )
            for one in map(to_queue, asyncio.run(work()))
            if one.queued
        ),
    )


@app.command()
def cancel(
    *,
    tenant: TenantOption,
    recipient_domain: Annotated[str, typer.Option(help="Domain of the recipient")] = "",
    sender: Annotated[str, typer.Option(help="Address in From, or its domain")] = "",
    site: Annotated[str, typer.Option(help="Site, as `obm queues list` shows it")] = "",
    tag: Annotated[str, typer.Option(help="NAME, or NAME=VALUE")] = "",
    all_: Annotated[bool, typer.Option("--all", help="Everything that waits")] = False,
    dry_run: Annotated[bool, typer.Option(help="Only count")] = False,
) -> None:
    """Cancel the messages of a tenant that wait and match every given option. Each gets its event
    and webhook. Messages whose delivery has started are not canceled.

    \b
    obm queues cancel --tenant shop --tag campaign=spring --dry-run
    obm queues cancel --tenant shop --recipient-domain example.net
    """
    name, _, value = tag.partition("=")
    parsed = (name, value if "=" in tag else None) if tag else None
    try:
        wanted = WaitingFilter.parse(
            recipient_domain=recipient_domain, sender=sender, site=site, tag=parsed
        )
    except AddressError as error:
        raise ConfigError(str(error)) from error
    if wanted.is_empty and not all_:
        raise ConfigError("Name what to cancel, for example --tag, or use --all.")
    matched, canceled = asyncio.run(cancel_all(tenant, wanted, dry_run=dry_run))
    if dry_run:
        console.print(f"{matched:,} messages would be canceled")
    else:
        console.print(f"{canceled:,} messages canceled, {matched - canceled:,} too late")


async def cancel_all(tenant: str, wanted: WaitingFilter, *, dry_run: bool) -> tuple[int, int]:
    """Returns the numbers of messages that matched, and that were canceled."""
    matched = canceled = 0
    after = ""
    async with open_waiting(tenant) as waiting:
        while True:
            page = await cancel_matching(waiting, wanted, after=after, dry_run=dry_run)
            matched, canceled, after = matched + page.matched, canceled + page.canceled, page.next
            if not after:
                return matched, canceled
            console.print(f"{matched:,} found so far …")
