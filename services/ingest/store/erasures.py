"""Erasures of recipients, and what ingest itself has of them."""

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from contracts.ingest.v1.events_pb2 import MessageAccepted
from kernel.crypto import SecretKeyring
from kernel.database import Database
from kernel.ids import uuid7_text
from kernel.lease import Lease
from kernel.redaction import ERASED, AddressPattern, erase
from services.ingest.domain import accepted_event
from services.ingest.domain.valid_email import Recipient
from services.ingest.store.audit_log import AuditActor, AuditSubject, record_changes
from services.ingest.store.directory_lists import DirectoryLists, EntryOwner, PageBounds

RESOURCE = "recipient"  # in the audit log
# Until then topics have the recipient: they are kept for seven days, in segments of one.
TOPICS_KEPT = timedelta(days=9)
RETENTION = timedelta(days=400)  # of what was erased when, as of the audit log

INSERT = """
INSERT INTO ingest.erasures (id, account_id, tenant_id, address, due_at)
VALUES (%s, %s, nullif(%s, '')::uuid, %s, now()) RETURNING created_at
"""
SELECT = """
SELECT id::text AS erasure_id, account_id::text, coalesce(tenant_id::text, ''), messages,
    created_at, completed_at FROM ingest.erasures
"""
NEXT = """
SELECT id::text, account_id::text, coalesce(tenant_id::text, ''), messages, created_at,
    completed_at, address
FROM ingest.erasures WHERE due_at <= now() ORDER BY due_at LIMIT 1
"""
COUNT = "UPDATE ingest.erasures SET messages = messages + %s WHERE id = %s"
POSTPONE = "UPDATE ingest.erasures SET due_at = now() + make_interval(secs => %s) WHERE id = %s"
COMPLETE = """
UPDATE ingest.erasures SET completed_at = coalesce(completed_at, now()),
    due_at = created_at + %(kept)s WHERE id = %(id)s
"""
END = "UPDATE ingest.erasures SET due_at = NULL, address = NULL WHERE id = %s"
EXPIRE = """
DELETE FROM ingest.erasures WHERE id = ANY(ARRAY(
    SELECT id FROM ingest.erasures WHERE id < %s AND due_at IS NULL ORDER BY id LIMIT %s))
"""

# In the order in which closes lock messages; emails after them.
MESSAGES = """
SELECT m.message_id::text, m.recipient, m.recipient_type, m.closed_state IS NOT NULL,
    e.email_id::text, e.accepted
FROM ingest.messages AS m JOIN ingest.emails AS e USING (email_id)
WHERE e.email_id = ANY(%s::uuid[]) AND m.message_id = ANY(e.message_ids) ORDER BY 1
"""
ERASE_MESSAGES = """
UPDATE ingest.messages SET recipient = %s
WHERE message_id = ANY(%s::uuid[]) AND recipient <> %s
"""
# With whether all of its recipients are erased.
EMAILS = """
SELECT email_id::text, accepted, NOT EXISTS (
    SELECT FROM ingest.messages AS m WHERE m.message_id = ANY(e.message_ids) AND m.recipient <> %s)
FROM ingest.emails AS e WHERE email_id = ANY(%s::uuid[])
"""
ERASE_EMAIL = "UPDATE ingest.emails SET accepted = %b WHERE email_id = %s"
# A note is shown as if there were none. A page has entries about other addresses too.
AUDIT_LOG = f"""
WITH page AS MATERIALIZED (
    SELECT id FROM ingest.audit_log
    WHERE account_id = %(account_id)s AND resource = 'suppression' AND id > %(after)s
    ORDER BY id LIMIT %(limit)s
), erased AS (
    UPDATE ingest.audit_log AS t
    SET before = nullif(before, 'null') - 'note' || '{{"address": "{ERASED}"}}',
        after = nullif(after, 'null') - 'note' || '{{"address": "{ERASED}"}}'
    FROM page WHERE t.id = page.id
        AND (%(tenant_id)s = '' OR tenant_id = nullif(%(tenant_id)s, '')::uuid)
        AND lower(coalesce(before, after) ->> 'address') = lower(%(address)s)
)
SELECT max(id::text), count(*) FROM page
"""  # noqa: S608 - constants only
AUDIT_PAGE = 1_000


class Erasure(NamedTuple):
    """tenant_id: empty for all tenants of the account. messages: whose recipient was removed."""

    erasure_id: str
    account_id: str
    tenant_id: str
    messages: int
    created_at: datetime
    completed_at: datetime | None

    @property
    def owner(self) -> EntryOwner:
        return EntryOwner(self.account_id, self.tenant_id)

    @property
    def topics_expire_at(self) -> datetime:
        return self.created_at + TOPICS_KEPT


class DueErasure(NamedTuple):
    erasure: Erasure
    address: str


class ErasableMessage(NamedTuple):
    """A message of an email. accepted: that of the message. closed: in ingest."""

    message_id: str
    closed: bool
    accepted: MessageAccepted


class ErasureStore:
    """database: with the role that sees all rows. return_path_key: of the return paths of mail."""

    def __init__(
        self,
        database: Database,
        lists: DirectoryLists,
        *,
        lease: Lease,
        secrets: SecretKeyring,
        return_path_key: bytes,
    ) -> None:
        self._database = database
        self._lists = lists
        self._lease = lease
        self._secrets = secrets
        self._return_path_key = return_path_key

    async def create(self, owner: EntryOwner, address: str, *, actor: AuditActor) -> Erasure:
        """With an entry of the audit log, which does not tell the address."""
        identifier = uuid7_text()
        encrypted = self._secrets.encrypt(address.encode())
        async with self._database.transaction() as tx:
            [(created_at,)] = await tx.rows(INSERT, (identifier, *owner, encrypted))
            subject = AuditSubject(RESOURCE, identifier, *owner)
            await record_changes(tx, actor, [(subject, None, None)], action="erase")
        return Erasure(identifier, *owner, 0, created_at, None)

    async def page(
        self, owner: EntryOwner, page: PageBounds, *, erasure_id: str = ""
    ) -> tuple[list[Erasure], bool]:
        """A page, newest first, and whether more follows. Without a tenant: of the account and all
        its tenants. erasure_id: only this one."""
        column = "tenant_id" if owner.tenant_id else "account_id"
        only = ["id = %(erasure_id)s"] if erasure_id else []
        rows, more = await self._lists.rows(
            SELECT,
            owner,
            page,
            conditions=[f"{column} = %({column})s", *only],
            values={**owner._asdict(), "erasure_id": erasure_id},
        )
        return [Erasure(*row) for row in rows], more

    async def next_due(self) -> DueErasure | None:
        rows = await self._database.execute_autocommit(NEXT)
        if not rows:
            return None
        *fields, encrypted = rows[0]
        return DueErasure(Erasure(*fields), self._secrets.decrypt(bytes(encrypted)).decode())

    async def load_messages(self, email_ids: Sequence[str]) -> list[ErasableMessage]:
        """All messages of the emails that ingest still has."""
        async with self._database.transaction() as tx:
            rows = await tx.rows(MESSAGES, (list(email_ids),))
        found = []
        for message_id, address, kind, closed, _, accepted in rows:
            first = MessageAccepted.FromString(bytes(accepted))
            recipients = [(message_id, Recipient(address, kind))]
            [own] = accepted_event.events_for_recipients(first, recipients, self._return_path_key)
            found.append(ErasableMessage(message_id, closed, own))
        return found

    async def erase_messages(
        self, erasure: Erasure, message_ids: Sequence[str], email_ids: Sequence[str], *,
        pattern: AddressPattern,
    ) -> None:  # fmt: skip
        """Raises Fenced."""
        async with self._lease.transaction() as tx:
            erased = await tx.execute(ERASE_MESSAGES, (ERASED, sorted(message_ids), ERASED))
            await tx.execute(COUNT, (erased, erasure.erasure_id))
            emails = await tx.rows(EMAILS, (ERASED, sorted(email_ids)))
            for email_id, accepted, of_nobody_else in emails:
                event = MessageAccepted.FromString(bytes(accepted))
                erase(event, pattern)
                if of_nobody_else:
                    event.subject = ERASED
                    event.metadata.clear()
                    del event.headers[:]
                await tx.execute(ERASE_EMAIL, (event.SerializeToString(), email_id))

    async def erase_audit_log(self, erasure: Erasure, address: str, *, after: str) -> str | None:
        """Suppressions of the owner, and removed complaints: a page. Returns the id after which the
        next one begins, if there may be one. Raises Fenced."""
        given = {"address": address, "after": after, "limit": AUDIT_PAGE}
        async with self._lease.transaction() as tx:
            [(last, count)] = await tx.rows(AUDIT_LOG, {**erasure.owner._asdict(), **given})
        return last if count == AUDIT_PAGE else None

    async def postpone(self, erasure: Erasure, *, delay_s: float) -> None:
        """Raises Fenced."""
        async with self._lease.transaction() as tx:
            await tx.execute(POSTPONE, (delay_s, erasure.erasure_id))

    async def complete(self, erasure: Erasure) -> None:
        """The last pass follows when topics have nothing left to repeat. Raises Fenced."""
        async with self._lease.transaction() as tx:
            if erasure.completed_at is None:
                given = {"kept": TOPICS_KEPT, "id": erasure.erasure_id}
                await tx.execute(COMPLETE, given)
            else:
                await tx.execute(END, (erasure.erasure_id,))
