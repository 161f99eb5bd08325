"""What the list of emails is made of."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from kernel.database import Transaction
from services.events.domain.facts import Fact


@dataclass(frozen=True, slots=True)
class Email:
    """An email as it is first heard of. accepted: the id of its first fact."""

    tenant_id: str
    email_id: str
    message_id: str
    accepted: str
    rank: int
    sent: bool
    tags: Sequence[str]


async def begin(tx: Transaction, emails: Collection[Email]) -> set[str]:
    """Insert those that are new; their ids."""
    ordered = sorted(emails, key=lambda email: (email.tenant_id, email.email_id))
    rows = await tx.rows(
        "INSERT INTO events.emails (tenant_id, email_id, message_id, rank, sent)"
        " SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[], %s::smallint[], %s::bool[])"
        " ON CONFLICT DO NOTHING RETURNING email_id::text",
        [
            [e.tenant_id for e in ordered],
            [e.email_id for e in ordered],
            [e.message_id for e in ordered],
            [int(e.rank) for e in ordered],
            [e.sent for e in ordered],
        ],
    )
    new = {row[0] for row in rows}
    await _tag(tx, [e for e in ordered if e.tags and e.email_id in new])
    return new


async def _tag(tx: Transaction, emails: Sequence[Email]) -> None:
    if not emails:
        return
    rows = [(e.tenant_id, tag, e.email_id) for e in emails for tag in e.tags]
    await tx.execute(
        "INSERT INTO events.tags (tenant_id, tag, email_id)"
        " SELECT * FROM unnest(%s::uuid[], %s::text[], %s::uuid[]) ON CONFLICT DO NOTHING",
        [list(column) for column in zip(*rows, strict=True)],
    )


async def mark_sent(tx: Transaction, assigned: Collection[Fact]) -> set[str]:
    """Scheduled emails of which the first message leaves: the ids of those not yet told as sent."""
    ids = sorted({fact.email_id for fact in assigned})
    rows = await tx.rows(
        "UPDATE events.emails SET sent = true WHERE email_id = ANY(%s::uuid[])"
        " AND tenant_id = ANY(%s::uuid[]) AND NOT sent RETURNING email_id::text",
        (ids, sorted({fact.tenant_id for fact in assigned})),
    )
    return {row[0] for row in rows}


async def raise_rank(tx: Transaction, ranks: Mapping[tuple[str, str], int]) -> None:
    """(tenant, email) → how far it has come. A rank only grows."""
    ordered = sorted(ranks)
    await tx.execute(
        "UPDATE events.emails e SET rank = v.rank"
        " FROM unnest(%s::uuid[], %s::uuid[], %s::smallint[]) AS v(tenant_id, email_id, rank)"
        " WHERE e.tenant_id = v.tenant_id AND e.email_id = v.email_id AND e.rank < v.rank"
        " AND e.email_id = ANY(%s::uuid[])",
        [
            [tenant for tenant, _ in ordered],
            ids := [email for _, email in ordered],
            [int(ranks[key]) for key in ordered],
            ids,
        ],
    )
