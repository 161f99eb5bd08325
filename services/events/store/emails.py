"""The rows of emails, and whether email.sent was public."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from kernel.database import Transaction
from services.events.domain.log_event import LogEvent


@dataclass(frozen=True, slots=True)
class NewEmail:
    """An email with its first message. accepted_event_id: of its MessageAccepted."""

    tenant_id: str
    email_id: str
    message_id: str
    accepted_event_id: str
    rank: int
    sent: bool
    tags: Sequence[str]
    test: bool
    account_id: str


async def insert_tags(tx: Transaction, emails: Collection[NewEmail]) -> None:
    """Insert the tags of new emails."""
    rows = sorted((e.tenant_id, tag, e.email_id, e.account_id) for e in emails for tag in e.tags)
    if rows:
        await tx.execute(
            "INSERT INTO events.tags (tenant_id, tag, email_id, account_id)"
            " SELECT tenant_id, tag, email_id, nullif(account_id, '')::uuid"
            " FROM unnest(%s::uuid[], %s::text[], %s::uuid[], %s::text[])"
            " AS v(tenant_id, tag, email_id, account_id) ON CONFLICT DO NOTHING",
            [list(column) for column in zip(*rows, strict=True)],
        )


async def mark_sent(tx: Transaction, assigned: Collection[LogEvent]) -> set[str]:
    """Mark scheduled emails at their first assignment; returns the ids of the newly marked."""
    rows = await tx.rows(
        "UPDATE events.emails SET sent = true WHERE email_id = ANY(%s::uuid[])"
        " AND tenant_id = ANY(%s::uuid[]) AND NOT sent RETURNING email_id::text",
        (
            sorted({log_event.email_id for log_event in assigned}),
            sorted({log_event.tenant_id for log_event in assigned}),
        ),
    )
    return {row[0] for row in rows}
