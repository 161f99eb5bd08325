"""Domains with the state of their checks: both change in one transaction, under one lock."""

from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeAlias
from uuid import UUID

import msgspec

from contracts.ingest.v1.directory_pb2 import DkimKeys, Domain, Mailbox
from contracts.ingest.v1.events_pb2 import DomainChanged
from kernel.database import Database, Transaction
from kernel.failpoint import failpoint
from kernel.ids import creation_time_of
from kernel.outbox import Outbox
from kernel.topics import encode
from services.ingest.domain.accepted_event import timestamp
from services.ingest.domain.domain_listings import listing_change
from services.ingest.domain.verification import (
    DELAYS,
    STATUSES,
    CheckedRecord,
    VerificationProgress,
    change_type,
    may_send,
    missing_record,
    restart_schedule,
)
from services.ingest.store.audit_log import AuditActor
from services.ingest.store.directory import LOCK, DirectoryStore, write_entry
from services.ingest.store.mailboxes import delete_mailboxes, mailboxes_of
from services.ingest.store.tracking_hosts import write_tracking_host

COUNT = """
SELECT count(*) FROM ingest.domains
WHERE NOT deleted AND (tenant_id = %s OR (shared AND account_id = %s))
"""
ONE = """
SELECT d.record, c.state, now() FROM ingest.domains AS d
LEFT JOIN ingest.domain_checks AS c ON c.domain_id = d.id
WHERE d.id = %s AND NOT d.deleted
"""
# Tenants take turns, so that the thousands of one do not delay the others.
DUE = """
SELECT record FROM (
    SELECT d.record, c.due_at,
        row_number() OVER (PARTITION BY d.tenant_id ORDER BY c.due_at) AS turn
    FROM ingest.domain_checks AS c JOIN ingest.domains AS d ON d.id = c.domain_id
    WHERE c.due_at <= now()
) AS due ORDER BY turn, due_at LIMIT %s
"""
PAGE = """
SELECT record FROM ingest.domains
WHERE NOT deleted AND id > coalesce(%s::uuid, '00000000-0000-0000-0000-000000000000')
ORDER BY id LIMIT %s
"""
WRITE = """
INSERT INTO ingest.domain_checks (domain_id, due_at, state) VALUES (%s, %s, %s)
ON CONFLICT (domain_id) DO UPDATE SET due_at = excluded.due_at, state = excluded.state
"""
REMOVE = "DELETE FROM ingest.domain_checks WHERE domain_id = %s"


@dataclass(frozen=True, slots=True)
class VerificationState:
    """The state of a domain's verification. records: what the last check has found; empty before
    the first. due_at: of the next check."""

    verification: VerificationProgress
    records: tuple[CheckedRecord, ...] = ()
    checked_at: datetime | None = None
    due_at: datetime | None = None


Change: TypeAlias = Callable[[Domain, VerificationState, datetime], VerificationState]
"""Changes the domain in place, and returns the new state of its checks."""
OpenTransaction: TypeAlias = Callable[[], AbstractAsyncContextManager[Transaction]]

decode = msgspec.json.Decoder(VerificationState).decode


class DomainHasMailboxes(Exception):
    """The domain has mailboxes, and how many."""

    def __init__(self, count: int) -> None:
        super().__init__(f"{count} mailboxes")
        self.count = count


class TooManyDomains(Exception):
    """The tenant can send from as many domains as it may."""


class DomainStore:
    """Adds, changes and finds domains; saves them to the directory."""

    def __init__(self, database: Database, directory: DirectoryStore, outbox: Outbox) -> None:
        self._database = database
        self._directory = directory
        self._outbox = outbox  # its sweep publishes: these events are not urgent

    async def add(
        self,
        domain: Domain,
        *,
        count_max: int,
        further_check: Callable[[Transaction], Awaitable[None]] | None = None,
        actor: AuditActor | None = None,
    ) -> None:
        """Add a domain, to be checked unless an operator vouches for it. count_max: domains that
        its tenant can send from. further_check: raises for another reason. Raises DomainExists,
        TooManyDomains."""
        actor = actor or self._directory.actor
        check = new_check(domain)
        is_checked = not domain.vouched or domain.tracking_host
        due_at = check.verification.started_at + DELAYS[0] if is_checked else None
        async with self._database.transaction() as tx:
            await tx.execute(LOCK)
            [(count,)] = await tx.rows(COUNT, (domain.tenant_id, domain.account_id))
            if count >= count_max:
                raise TooManyDomains
            if further_check is not None:
                await further_check(tx)
            await write_entry(tx, domain, actor=actor)
            await _write_check(tx, domain.domain_id, replace(check, due_at=due_at))
            await self._add_event(tx, None, domain, now=check.verification.started_at)
        self._directory.call_listeners(domain)

    async def change(
        self,
        domain_id: str,
        change: Change,
        *,
        transaction: OpenTransaction | None = None,
        actor: AuditActor | None = None,
    ) -> tuple[Domain, VerificationState] | None:
        """The domain and its checks after the change; None if the domain is deleted. transaction:
        that of an owner, which is fenced. actor: whose act it is, for the audit log."""
        async with (transaction or self._database.transaction)() as tx:
            await tx.execute(LOCK)
            rows = await tx.rows(ONE, (domain_id,))
            if not rows:
                await tx.execute(REMOVE, (domain_id,))
                return None
            [(record, state, now)] = rows
            domain = Domain.FromString(bytes(record))
            check = change(domain, _check_of(domain, state), now)
            if domain.SerializeToString() != bytes(record):
                await write_entry(tx, domain, actor=actor)
                failpoint("ingest.domain.written")
            await write_tracking_host(tx, domain)
            await _write_check(tx, domain_id, check)
            await self._add_event(tx, Domain.FromString(bytes(record)), domain, now=now)
            failpoint("ingest.domain.in_transaction")
        failpoint("ingest.domain.committed")
        self._directory.call_listeners(domain)
        return domain, check

    async def remove(self, domain: Domain, *, force: bool, actor: AuditActor | None = None) -> None:
        """Delete a domain; by force, with its mailboxes. Raises DomainHasMailboxes."""
        gone: list[Mailbox] = []

        @asynccontextmanager
        async def without_mailboxes() -> AsyncIterator[Transaction]:
            async with self._database.transaction() as tx:
                await tx.execute(LOCK)
                gone[:] = await mailboxes_of(tx, domain)
                if gone and not force:
                    raise DomainHasMailboxes(len(gone))
                await delete_mailboxes(tx, gone, actor=actor)
                yield tx

        await self.change(
            domain.domain_id, mark_deleted, transaction=without_mailboxes, actor=actor
        )
        self._directory.call_listeners(*gone)

    async def _add_event(
        self, tx: Transaction, before: Domain | None, after: Domain, *, now: datetime
    ) -> None:
        if not (kind := change_type(before, after)):
            return
        event = DomainChanged(
            domain_id=after.domain_id,
            version=after.version,
            type=kind,
            tenant_id=after.tenant_id,
            account_id=after.account_id,
            name=after.name,
            status=STATUSES[after.status],
            reason=reason_of(before, after),
            changed_at=timestamp(now),
        )
        self._outbox.leave_to_sweep(await self._outbox.add(tx, [encode(event, now)]))

    async def check_of(self, domain: Domain) -> VerificationState:
        """The state of a domain's checks."""
        rows = await self._database.execute_autocommit(ONE, (domain.domain_id,))
        return _check_of(domain, rows[0][1] if rows else None)

    async def page(self, after: str, count: int) -> Sequence[Domain]:
        """Domains by id, from the one after this on."""
        rows = await self._database.execute_autocommit(PAGE, (after or None, count))
        return [Domain.FromString(bytes(record)) for (record,) in rows]

    async def due(self, count: int) -> Sequence[Domain]:
        """Domains that are due for a check, those of each tenant in turn; deleted ones too."""
        rows = await self._database.execute_autocommit(DUE, (count,))
        return [Domain.FromString(bytes(record)) for (record,) in rows]


def set_fields(
    domain: Domain, check: VerificationState, now: datetime, *, given: Mapping[str, object]
) -> VerificationState:
    """given: by name; None for those that stay. A new tracking host is looked for in DNS soon."""
    before = domain.tracking_host, domain.tracking_target
    for name, value in given.items():
        if isinstance(value, list):
            getattr(domain, name)[:] = value
        elif value is not None:
            setattr(domain, name, value)
    if before == (domain.tracking_host, domain.tracking_target):
        return check
    domain.tracking_verified = False
    return check_soon(domain, check, now) if domain.tracking_host else check


def mark_deleted(domain: Domain, check: VerificationState, _: datetime) -> VerificationState:
    domain.deleted = True
    return replace(check, due_at=None)


def begin_checks(domain: Domain, check: VerificationState, now: datetime) -> VerificationState:
    """Check the domain now, and begin its schedule again."""
    state = restart_schedule(check.verification, now)
    if not domain.vouched:
        domain.status = state.status  # type: ignore[assignment]
    return replace(check, verification=state, due_at=now)


def begin_rotation(
    keys: DkimKeys, domain: Domain, check: VerificationState, *, now: datetime
) -> VerificationState:
    """Add pending keys, and look for them in DNS soon."""
    domain.pending_keys.CopyFrom(keys)
    return check_soon(domain, check, now)


def check_soon(domain: Domain, check: VerificationState, now: datetime) -> VerificationState:
    """Begin the schedule again: the records to find have only now been named."""
    return replace(begin_checks(domain, check, now), due_at=now + DELAYS[0])


def reason_of(before: Domain | None, after: Domain) -> str:
    """The listings that have changed; else the record that is missing or wrong."""
    if before and (reason := listing_change(before, after)[1]):
        return reason
    return "" if may_send(after) and not after.missing_record else missing_record(after)


def new_check(domain: Domain) -> VerificationState:
    return VerificationState(
        VerificationProgress(domain.status, creation_time_of(UUID(domain.domain_id)))
    )


def _check_of(domain: Domain, state: bytes | None) -> VerificationState:
    return new_check(domain) if state is None else decode(bytes(state))


async def _write_check(tx: Transaction, domain_id: str, check: VerificationState) -> None:
    await tx.execute(WRITE, (domain_id, check.due_at, msgspec.json.encode(check)))
