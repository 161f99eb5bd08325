"""Disabled webhook endpoints whose owners get a mail."""

from kernel.database import Transaction
from services.events.domain.webhook_notice import DisabledEndpoint


async def claim_due(tx: Transaction, *, limit: int, retry_s: float) -> list[DisabledEndpoint]:
    """Others do not claim them for retry_s."""
    rows = await tx.rows(
        "UPDATE events.webhooks SET notice_due_at = now() + make_interval(secs => %s)"
        " WHERE id = ANY(ARRAY(SELECT id FROM events.webhooks WHERE notice_due_at <= now()"
        " ORDER BY notice_due_at LIMIT %s FOR UPDATE SKIP LOCKED))"
        " RETURNING id::text, owner_id::text, account_wide, url, disabled_reason, disabled_at",
        (retry_s, limit),
    )
    return [DisabledEndpoint(*row) for row in rows]


async def finish(tx: Transaction, endpoint: DisabledEndpoint, *, sent: bool) -> None:
    """Unless it was enabled and disabled again meanwhile."""
    await tx.execute(
        "UPDATE events.webhooks SET notice_due_at = NULL,"
        " noticed_at = CASE WHEN %s THEN now() ELSE noticed_at END"
        " WHERE id = %s AND disabled_at = %s",
        (sent, endpoint.id, endpoint.disabled_at),
    )
