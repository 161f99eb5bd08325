"""Messages to audit: open ones, and closed ones that the event log may lack."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias
from uuid import UUID

from contracts.ingest.v1.events_pb2 import MessageAccepted
from kernel import times
from kernel.database import Database, Transaction
from services.ingest.domain import accepted_event
from services.ingest.domain.valid_email import Recipient

CLOSE = """
UPDATE ingest.messages AS m SET closed_state = given.state, closed_at = now(),
    audit_at = least(m.audit_at, now() + make_interval(secs => %b))
FROM unnest(%b::text[]::uuid[], %b::smallint[]) AS given (id, state)
WHERE m.message_id = given.id AND m.closed_state IS NULL RETURNING m.message_id::text
"""
DUE = """
SELECT m.message_id, m.closed_at, m.recipient, m.recipient_type, e.accepted
FROM ingest.messages AS m JOIN ingest.emails AS e USING (email_id)
WHERE m.audit_at < now() ORDER BY m.audit_at LIMIT %s
"""
POSTPONE = """
UPDATE ingest.messages AS m SET audit_at = given.audit_at
FROM unnest(%s::uuid[], %s::timestamptz[]) AS given (id, audit_at)
WHERE m.message_id = given.id
"""

NextChecks: TypeAlias = Mapping[str, datetime | None]  # next check by message id; None: never


@dataclass(frozen=True, slots=True)
class MessageDueForAudit:
    """A message due for audit. closed_at: when ingest recorded its terminal state."""

    message_id: str
    closed_at: datetime | None
    accepted: MessageAccepted

    @property
    def since(self) -> datetime:
        """When the message was accepted or closed."""
        return self.closed_at or times.clamp_timestamp(self.accepted.context.accepted_at)


class MessageAuditStore:
    """closed_after_s: time after which a closed message is looked up in the event log."""

    def __init__(
        self, database: Database, *, closed_after_s: float, return_path_key: bytes
    ) -> None:
        self._database = database
        self._closed_after_s = closed_after_s
        self._return_path_key = return_path_key

    async def close(self, tx: Transaction, states: Sequence[tuple[str, int]]) -> set[str]:
        """Record terminal states. Returns the ids of the messages that were open."""
        given = sorted(states)
        rows = await tx.rows(
            CLOSE, (self._closed_after_s, [one for one, _ in given], [state for _, state in given])
        )
        return {message_id for (message_id,) in rows}

    async def due(self, count: int) -> list[MessageDueForAudit]:
        """The messages that are due for audit, earliest first."""
        async with self._database.transaction() as tx:
            rows = await tx.rows(DUE, (count,))
        return [
            MessageDueForAudit(str(message_id), closed_at, self._rebuild(message_id, row))
            for message_id, closed_at, *row in rows
        ]

    async def postpone(self, tx: Transaction, next_checks: NextChecks) -> None:
        """Set the next check of each message."""
        given = sorted(next_checks.items(), key=lambda one: one[0])
        await tx.execute(
            POSTPONE, ([UUID(one) for one, _ in given], [moment for _, moment in given])
        )

    def _rebuild(self, message_id: UUID, row: Sequence[Any]) -> MessageAccepted:
        address, kind, accepted = row
        recipients = [(str(message_id), Recipient(address, kind))]
        first = MessageAccepted.FromString(bytes(accepted))
        [same] = accepted_event.events_for_recipients(first, recipients, self._return_path_key)
        return same
