"""Accepted emails of one tenant; row-level security separates the tenants and the accounts."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from contracts.ingest.v1.events_pb2 import MessageAccepted
from contracts.router.v1.events_pb2 import ClosedState
from kernel.database import Database
from services.ingest.domain import accepted_event
from services.ingest.domain.valid_email import Recipient

FIND = "SELECT message_ids, accepted, scheduled_at FROM ingest.emails WHERE email_id = %s"
TENANT_OF = "SELECT tenant_id::text FROM ingest.emails WHERE email_id = %s"
FIND_MANY = "SELECT email_id::text, accepted FROM ingest.emails WHERE email_id = ANY(%s::uuid[])"
FIND_MESSAGES = """
SELECT message_id, recipient, recipient_type, closed_state FROM ingest.messages
WHERE message_id = ANY(%s) ORDER BY message_id
"""
RESCHEDULE = "UPDATE ingest.emails SET scheduled_at = %s, accepted = %s WHERE email_id = %s"


@dataclass(frozen=True, slots=True)
class StoredMessage:
    """closed_state: the terminal state, in lower case; empty while the message is open."""

    message_id: str
    recipient: Recipient
    closed_state: str


@dataclass(frozen=True, slots=True)
class StoredEmail:
    """first: the MessageAccepted of its first message."""

    first: MessageAccepted
    scheduled_at: datetime | None
    messages: Sequence[StoredMessage]


class AcceptedEmails:
    """database: with the tenant role."""

    def __init__(self, database: Database, *, return_path_key: bytes) -> None:
        self._database = database
        self._return_path_key = return_path_key

    async def find(self, tenant_id: str, email_id: str) -> StoredEmail | None:
        """None if it does not exist or belongs to another tenant."""
        async with self._database.transaction(tenant_id=tenant_id) as tx:
            rows = await tx.rows(FIND, (email_id,))
            if not rows:
                return None
            [(message_ids, accepted, scheduled_at)] = rows
            messages = await tx.rows(FIND_MESSAGES, (message_ids,))
        first = MessageAccepted.FromString(bytes(accepted))
        stored = [
            StoredMessage(str(message_id), Recipient(address, kind), _closed_state_name(state))
            for message_id, address, kind, state in messages
        ]
        return StoredEmail(first, scheduled_at, stored)

    async def tenant_of(self, account_id: str, email_id: str) -> str | None:
        """The tenant of an email; None if it does not exist or belongs to another account."""
        async with self._database.transaction(account_id=account_id) as tx:
            rows = await tx.rows(TENANT_OF, (email_id,))
        return rows[0][0] if rows else None

    async def tags_of(
        self, tenant_id: str, email_ids: Iterable[str]
    ) -> dict[str, Mapping[str, str]]:
        """Of the emails that still exist, by id."""
        async with self._database.transaction(tenant_id=tenant_id) as tx:
            rows = await tx.rows(FIND_MANY, (list(email_ids),))
        return {row[0]: MessageAccepted.FromString(bytes(row[1])).tags for row in rows}

    def events(self, email: StoredEmail) -> list[MessageAccepted]:
        """The MessageAccepted of each of its messages."""
        recipients = [(one.message_id, one.recipient) for one in email.messages]
        return list(
            accepted_event.events_for_recipients(email.first, recipients, self._return_path_key)
        )

    async def reschedule(self, tenant_id: str, first: MessageAccepted, *, due_at: datetime) -> None:
        """first: with the new times."""
        context = first.context
        async with self._database.transaction(tenant_id=tenant_id) as tx:
            await tx.execute(RESCHEDULE, (due_at, first.SerializeToString(), context.email_id))


def _closed_state_name(state: int | None) -> str:
    if not state:
        return ""
    return ClosedState.Name(state).removeprefix("CLOSED_STATE_").lower()  # type: ignore[arg-type]
