"""Mailboxes in numbers: each statement is for all of them."""

from collections.abc import Sequence

from contracts.ingest.v1.directory_pb2 import Domain, Mailbox
from kernel.database import Transaction
from services.ingest.store.audit_log import AuditActor, AuditSubject, record_changes
from services.ingest.store.directory import NEXT_VERSION, DirectoryTransaction, read_entries

COUNT = "SELECT count(*) FROM ingest.mailboxes WHERE tenant_id = %s AND NOT deleted"
VERSIONS = f"SELECT {NEXT_VERSION} FROM generate_series(1, %s)"  # noqa: S608 - a constant
WRITE = """
INSERT INTO ingest.mailboxes
    (id, version, deleted, account_id, tenant_id, address, test, record)
SELECT * FROM unnest(%s::uuid[], %s::bigint[], %s::boolean[], %s::uuid[], %s::uuid[], %s::text[],
    %s::boolean[], %s::bytea[])
ON CONFLICT (id) DO UPDATE SET
    version = excluded.version, deleted = excluded.deleted, record = excluded.record
"""
OF_DOMAIN = "{owner} = %s AND NOT deleted AND right(address, %s) = %s"


async def count_mailboxes(change: DirectoryTransaction, tenant_id: str) -> int:
    [(count,)] = await change.tx.rows(COUNT, (tenant_id,))
    return int(count)


async def add_mailboxes(change: DirectoryTransaction, mailboxes: Sequence[Mailbox]) -> None:
    """New ones."""
    await _write(change.tx, mailboxes, actor=change.actor, befores=[None] * len(mailboxes))
    change.saved.extend(mailboxes)


async def mailboxes_of(tx: Transaction, domain: Domain) -> list[Mailbox]:
    """Those at a domain. If it is shared, of all tenants of the account."""
    owner = "account_id" if domain.shared else "tenant_id"
    ending = f"@{domain.name}"
    where = OF_DOMAIN.format(owner=owner)
    return await read_entries(
        tx, Mailbox, where, params=(getattr(domain, owner), len(ending), ending)
    )


async def delete_mailboxes(
    tx: Transaction, mailboxes: Sequence[Mailbox], *, actor: AuditActor | None
) -> None:
    """In a transaction that has the lock of the directory."""
    befores = [Mailbox.FromString(one.SerializeToString()) for one in mailboxes]
    for one in mailboxes:
        one.deleted = True
    await _write(tx, mailboxes, actor=actor, befores=befores)


async def _write(
    tx: Transaction,
    mailboxes: Sequence[Mailbox],
    *,
    actor: AuditActor | None,
    befores: Sequence[Mailbox | None],
) -> None:
    """Insert or replace with new versions. befores: what was stored."""
    if not mailboxes:
        return
    if actor is not None:
        changes = [
            (AuditSubject("mailbox", after.mailbox_id), before, after)
            for before, after in zip(befores, mailboxes, strict=True)
        ]
        await record_changes(tx, actor, changes)
    for one, (version,) in zip(mailboxes, await tx.rows(VERSIONS, (len(mailboxes),)), strict=True):
        one.version = version
    columns = ("mailbox_id", "version", "deleted", "account_id", "tenant_id", "address", "test")
    await tx.execute(
        WRITE,
        (
            *([getattr(one, column) for one in mailboxes] for column in columns),
            [one.SerializeToString() for one in mailboxes],
        ),
    )
