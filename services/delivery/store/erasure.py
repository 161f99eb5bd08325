"""Removes recipients from the journal, and captured mail to them."""

from collections.abc import Sequence

from contracts.delivery.v1.events_pb2 import DeliveryAttempted
from contracts.router.v1.events_pb2 import DeliveryAssigned
from kernel.database import Transaction
from kernel.redaction import AddressPattern, erase_bytes

LOCK = """
SELECT message_id::text, attempt, assignment, coalesce(attempted, ''), outcome IS NULL
FROM delivery.attempts WHERE message_id = ANY(%s::uuid[]) AND tenant_id = %s
ORDER BY message_id, attempt FOR UPDATE
"""
UPDATE = """
UPDATE delivery.attempts AS a SET assignment = v.assignment, attempted = nullif(v.attempted, '')
FROM unnest(%s::uuid[], %s::int[], %s::bytea[], %s::bytea[])
    AS v (message_id, attempt, assignment, attempted)
WHERE a.message_id = v.message_id AND a.attempt = v.attempt
"""
SANDBOX = """
DELETE FROM delivery.sandbox WHERE tenant_id = %s AND message_id = ANY(%s::uuid[])
"""


async def erase_messages(
    tx: Transaction, tenant_id: str, message_ids: Sequence[str], *, pattern: AddressPattern
) -> list[str]:
    """Returns those with an attempt that has not ended, which stays as it is."""
    rows = await tx.rows(LOCK, (list(message_ids), tenant_id))
    erased = [
        (
            message_id,
            attempt,
            assignment and erase_bytes(DeliveryAssigned, assignment, pattern),
            attempted and erase_bytes(DeliveryAttempted, attempted, pattern),
        )
        for message_id, attempt, assignment, attempted, is_open in rows
        if not is_open
    ]
    if erased:
        await tx.execute(UPDATE, [list(one) for one in zip(*erased, strict=True)])
    await tx.execute(SANDBOX, (tenant_id, list(message_ids)))
    return [message_id for message_id, *_, is_open in rows if is_open]
