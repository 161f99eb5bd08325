"""Captured test mail. Messages are sealed with the tenant's key, as in the content store."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from contracts.delivery.v1.delivery_service_pb2 import SandboxMessage
from contracts.router.v1.events_pb2 import DeliveryAssigned
from kernel.crypto import seal, unseal
from kernel.database import Row, Transaction
from kernel.errors import Unavailable
from kernel.ids import uuid7

LIMIT_MAX = 100
COLUMNS = (
    "id, tenant_id, message_id, email_id, mail_from, recipient, subject, bytes, reply, received_at"
)

ASSIGNMENT = """
SELECT assignment FROM delivery.attempts WHERE message_id = %s::uuid ORDER BY attempt DESC LIMIT 1
"""

CAPTURE = """
INSERT INTO delivery.sandbox
    (id, tenant_id, message_id, email_id, mail_from, recipient, subject, bytes, reply, raw)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %b)
"""

EXPIRE = """
DELETE FROM delivery.sandbox WHERE id = ANY(ARRAY(
    SELECT id FROM delivery.sandbox WHERE received_at < now() - make_interval(days => %s)
    LIMIT 500))
"""


@dataclass(frozen=True, slots=True)
class CapturedMessage:
    """A test message as it was received, and the reply that was sent."""

    assignment: DeliveryAssigned
    subject: str
    reply: str
    raw: bytes


ContentKey = Callable[[str], bytes | None]


class SandboxStore:
    """Queries of captured mail; each call takes its transaction: of the system role to capture, of
    the tenant role to read.

    content_key: returns a tenant's key; None while it is unknown, and after the tenant was deleted.
    """

    def __init__(self, content_key: ContentKey) -> None:
        self._content_key = content_key

    async def assignment(self, tx: Transaction, message_id: str) -> DeliveryAssigned | None:
        """The latest assignment of a message, from the journal."""
        rows = await tx.rows(ASSIGNMENT, (message_id,))
        return DeliveryAssigned.FromString(rows[0][0]) if rows else None

    async def capture(self, tx: Transaction, capture: CapturedMessage) -> None:
        """Store a message. Raises Unavailable while the tenant's key is unknown."""
        context, capture_id = capture.assignment.context, str(uuid7())
        if (key := self._content_key(context.tenant_id)) is None:
            raise Unavailable("the directory")
        sealed = seal(key, capture.raw, associated_data(context.tenant_id, capture_id))
        await tx.execute(
            CAPTURE,
            (
                capture_id,
                context.tenant_id,
                context.message_id,
                context.email_id,
                context.return_path,
                context.recipient,
                capture.subject,
                len(capture.raw),
                capture.reply,
                sealed,
            ),
        )

    async def list(
        self, tx: Transaction, *, limit: int, after: str, before: str, recipient: str
    ) -> tuple[Sequence[SandboxMessage], bool]:
        """A page, newest first; after: only older ones than this id; before: only newer ones."""
        limit = min(limit or 20, LIMIT_MAX)
        order = "ASC" if before else "DESC"
        rows = await tx.rows(
            f"SELECT {COLUMNS} FROM delivery.sandbox"  # noqa: S608 - constants of this module
            " WHERE (%(after)s = '' OR id < nullif(%(after)s, '')::uuid)"
            " AND (%(before)s = '' OR id > nullif(%(before)s, '')::uuid)"
            " AND (%(recipient)s = '' OR lower(recipient) = lower(%(recipient)s))"
            f" ORDER BY id {order} LIMIT %(limit)s",
            {"after": after, "before": before, "recipient": recipient, "limit": limit + 1},
        )
        found = [_message(row) for row in rows[:limit]]
        return (found[::-1] if before else found), len(rows) > limit

    async def get(self, tx: Transaction, message_id: str) -> SandboxMessage | None:
        """One message, with its raw bytes; None if there is no such message, or its key no longer
        exists. Raises SealBroken."""
        rows = await tx.rows(
            f"SELECT {COLUMNS}, raw FROM delivery.sandbox WHERE id = %s::uuid",  # noqa: S608
            (message_id,),
        )
        if not rows:
            return None
        message = _message(rows[0])
        if (key := self._content_key(message.tenant_id)) is None:
            return None
        message.raw = unseal(key, rows[0][-1], associated_data(message.tenant_id, message.id))
        return message


async def expire(tx: Transaction, *, retention_days: int) -> int:
    """Delete up to 500 messages that are past retention; returns how many."""
    return await tx.execute(EXPIRE, (retention_days,))


def associated_data(tenant_id: str, capture_id: str) -> bytes:
    """The associated data of a sealed message, which binds it to its tenant and row."""
    return f"{tenant_id}/sandbox/{capture_id}".encode()


def _message(row: Row) -> SandboxMessage:
    one, tenant, message, email, mail_from, recipient, subject, octets, reply, received = row[:10]
    found = SandboxMessage(
        id=str(one),
        tenant_id=str(tenant),
        message_id=str(message),
        email_id=str(email),
        mail_from=mail_from,
        recipient=recipient,
        subject=subject,
        bytes=octets,
        reply=reply,
    )
    moment: datetime = received
    found.received_at.FromDatetime(moment)
    return found
