"""Removes recipients from messages and suppressions."""

from collections.abc import Sequence

from contracts.delivery.v1.events_pb2 import Reply
from contracts.ingest.v1.events_pb2 import MessageContext
from kernel.database import RowOwner, Transaction
from kernel.redaction import erase_bytes, pattern_of
from services.router.domain.suppressions import address_hash
from services.router.store.address_key import erased_hash
from services.router.store.suppressions import KEEP_STRONGER, KEY

LOCK = """
SELECT message_id::text, closed_at IS NOT NULL, context, coalesce(reply, '') FROM router.messages
WHERE message_id = ANY(%s::uuid[]) AND tenant_id = %s ORDER BY message_id FOR UPDATE
"""
UPDATE = """
UPDATE router.messages AS m SET context = v.context, reply = nullif(v.reply, ''),
    assignment = NULL, screening = NULL, address_hash = %s
FROM unnest(%s::uuid[], %s::bytea[], %s::bytea[]) AS v (message_id, context, reply)
WHERE m.message_id = v.message_id
"""
HASHES = """
SELECT message_id::text, address_hash FROM router.messages WHERE message_id = ANY(%s::uuid[])
"""
OWNERS = {
    True: "owner_id = %(owner)s",
    False: "(owner_id = %(owner)s OR owner_id IN"
    " (SELECT tenant_id FROM router.tenant_accounts WHERE account_id = %(owner)s))",
}
COLUMNS = """owner_id, account_wide, list, id, origin, reason, source_id, created_at, expires_at"""
# An address can be suppressed anew after its erasure, and erased again.
SUPPRESSIONS = f"""
WITH gone AS (
    DELETE FROM router.suppressions WHERE {{owned}} AND address_hash = %(hash)s RETURNING {COLUMNS}
)
INSERT INTO router.suppressions AS stored ({COLUMNS}, address, note, address_hash)
SELECT {COLUMNS}, '', '', %(erased)s FROM gone ORDER BY {KEY.replace("address_hash, ", "")}
{KEEP_STRONGER}
"""  # noqa: S608 - constants only
# Their events must not count again, so the rows stay.
STRIKES = """
UPDATE router.bounce_strikes SET address_hash = %(erased)s
WHERE {owned} AND address_hash = %(hash)s
"""


async def erase_messages(
    tx: Transaction, tenant_id: str, message_ids: Sequence[str], *, address: str, key: bytes
) -> list[str]:
    """Returns those that are not closed: they stay as they are."""
    pattern = pattern_of(address)
    open_ids, closed = [], []
    for message_id, is_closed, context, reply in await tx.rows(
        LOCK, (list(message_ids), tenant_id)
    ):
        if not is_closed:
            open_ids.append(message_id)
            continue
        erased = erase_bytes(MessageContext, context, pattern)
        closed.append((message_id, erased, reply and erase_bytes(Reply, reply, pattern)))
    if closed:
        columns = [list(one) for one in zip(*closed, strict=True)]
        await tx.execute(UPDATE, [erased_hash(key, address_hash(address)), *columns])
    return open_ids


async def hashes_of(tx: Transaction, message_ids: Sequence[str]) -> dict[str, bytes]:
    """What is left of the addresses of erased recipients, by message: without those whose day was
    dropped."""
    if not message_ids:
        return {}
    return dict(await tx.rows(HASHES, (list(message_ids),)))


async def erase_suppressions(tx: Transaction, owner: RowOwner, address: str, *, key: bytes) -> None:
    owned = OWNERS[owner.tenant_id is not None]
    plain = address_hash(address)
    given = {
        "owner": owner.tenant_id or owner.account_id,
        "hash": plain,
        "erased": erased_hash(key, plain),
    }
    await tx.execute(SUPPRESSIONS.format(owned=owned), given)
    await tx.execute(STRIKES.format(owned=owned.replace("owner_id", "tenant_id", 2)), given)
