"""What is told of an email as a whole, once."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from kernel.database import Transaction
from services.events.domain.facts import Fact


@dataclass(frozen=True, slots=True)
class Email:
    """An email as it is first heard of. accepted: the id of the fact that tells of it."""

    tenant_id: str
    email_id: str
    message_id: str
    accepted: str
    rank: int
    sent: bool
    tags: Sequence[str]
    test: bool


async def tag(tx: Transaction, emails: Collection[Email]) -> None:
    """Of emails that are new."""
    rows = sorted((e.tenant_id, tag, e.email_id) for e in emails for tag in e.tags)
    if rows:
        await tx.execute(
            "INSERT INTO events.tags (tenant_id, tag, email_id)"
            " SELECT * FROM unnest(%s::uuid[], %s::text[], %s::uuid[]) ON CONFLICT DO NOTHING",
            [list(column) for column in zip(*rows, strict=True)],
        )


async def mark_sent(tx: Transaction, assigned: Collection[Fact]) -> set[str]:
    """Scheduled emails of which the first message leaves: the ids of those not yet told as sent."""
    rows = await tx.rows(
        "UPDATE events.emails SET sent = true WHERE email_id = ANY(%s::uuid[])"
        " AND tenant_id = ANY(%s::uuid[]) AND NOT sent RETURNING email_id::text",
        (
            sorted({fact.email_id for fact in assigned}),
            sorted({fact.tenant_id for fact in assigned}),
        ),
    )
    return {row[0] for row in rows}
