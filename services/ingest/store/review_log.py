"""Reviews of held messages in the audit log, from the router's events: once each, whatever dies."""

from collections.abc import Sequence
from hashlib import sha256

import msgspec

from contracts.router.v1.events_pb2 import REVIEW_RELEASED, HeldMessageReviewed
from kernel.database import Transaction
from kernel.ids import uuid7_of
from kernel.topics import event_id

RESOURCE = "held_message"
# The account is that of the tenant, so that it finds what operators did.
INSERT = """
INSERT INTO ingest.audit_log (id, account_id, tenant_id, action, resource, resource_id, after,
    actor_kind, actor_id, request_id, client)
SELECT review.id, tenant.account_id, review.tenant_id, action, %s, message_id, after::jsonb,
    actor_kind, actor_id, request_id, client
FROM unnest(%s::uuid[], %s::uuid[], %s::text[], %s::uuid[], %s::text[], %s::text[], %s::text[],
        %s::text[], %s::text[])
    AS review (id, tenant_id, action, message_id, after, actor_kind, actor_id, request_id, client)
LEFT JOIN ingest.tenants AS tenant ON tenant.id = review.tenant_id
ON CONFLICT (id) DO NOTHING
"""


async def record_reviews(tx: Transaction, events: Sequence[HeldMessageReviewed]) -> None:
    """A repeat changes nothing. Entries have no address, so that none has to be erased."""
    columns = zip(*map(_row, events), strict=True)
    await tx.execute(INSERT, (RESOURCE, *map(list, columns)))


def _row(event: HeldMessageReviewed) -> tuple[str, ...]:
    """The same each time, also the id."""
    action = "release" if event.review == REVIEW_RELEASED else "reject"
    after = {
        "email_id": event.context.email_id,
        "reason": event.reason,
        "score": event.score,
        "model_version": event.model_version,
    }
    digest = sha256(event_id(event).encode()).digest()
    reviewer = event.reviewer
    return (
        str(uuid7_of(event.reviewed_at.ToMilliseconds(), digest)),
        event.context.tenant_id,
        f"{RESOURCE}.{action}",
        event.message_id,
        msgspec.json.encode(after).decode(),
        reviewer.kind,
        reviewer.key_id,
        reviewer.request_id,
        reviewer.client,
    )
