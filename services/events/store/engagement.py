"""The engagement of messages, the messages that hits name, and how far a spool is read."""

from collections.abc import Collection, Iterable
from dataclasses import replace
from operator import attrgetter

from contracts.delivery.v1.events_pb2 import ATTEMPT_OUTCOME_DELIVERED, DeliveryAttempted
from contracts.ingest.v1.events_pb2 import MessageAccepted
from kernel.database import Transaction
from kernel.days import first_day_bound
from services.events.domain.engagement import (
    DeliveredMessage,
    EngagementCounts,
    pack_stored,
    unpack_stored,
)
from services.events.domain.log_event import EventKind
from services.events.store.hit_spool import SpoolPosition

MESSAGES = """
    SELECT subject_id::text, kind, payload FROM events.log
    WHERE subject_id = ANY(%s::uuid[]) AND kind = ANY(%s::smallint[]) AND subject_id >= %s
"""
INSERT = """
    INSERT INTO events.engagement (subject_id, email_id, tenant_id)
    SELECT * FROM unnest(%s::uuid[], %s::uuid[], %s::uuid[]) ON CONFLICT DO NOTHING
"""
LOCK = """
    SELECT subject_id::text, email_id::text, tenant_id::text, opens, clicks, machine_opens,
        machine_clicks, first_opened_ms, first_clicked_ms, unsubscribed_ms, stored
    FROM events.engagement WHERE subject_id = ANY(%s::uuid[]) AND subject_id >= %s
    ORDER BY subject_id FOR UPDATE
"""
UPDATE = """
    UPDATE events.engagement e SET opens = v.opens, clicks = v.clicks,
        machine_opens = v.machine_opens, machine_clicks = v.machine_clicks,
        first_opened_ms = v.first_opened_ms, first_clicked_ms = v.first_clicked_ms,
        unsubscribed_ms = v.unsubscribed_ms, stored = v.stored
    FROM unnest(%s::uuid[], %s::int[], %s::int[], %s::int[], %s::int[], %s::bigint[], %s::bigint[],
        %s::bigint[], %s::bytea[])
        AS v(id, opens, clicks, machine_opens, machine_clicks, first_opened_ms, first_clicked_ms,
            unsubscribed_ms, stored)
    WHERE e.subject_id = v.id AND e.subject_id >= %s
"""
SAVE_POSITION = """
    INSERT INTO events.hit_spools AS spool (spool_id, segment, position) VALUES (%s, %s, %s)
    ON CONFLICT (spool_id) DO UPDATE SET segment = excluded.segment,
        position = excluded.position, read_at = now()
"""
OF_EMAIL = """
    SELECT coalesce(sum(opens), 0)::int, coalesce(sum(clicks), 0)::int,
        coalesce(sum(machine_opens), 0)::int, coalesce(sum(machine_clicks), 0)::int,
        coalesce(min(nullif(first_opened_ms, 0)), 0), coalesce(min(nullif(first_clicked_ms, 0)), 0),
        coalesce(min(nullif(unsubscribed_ms, 0)), 0)
    FROM events.engagement WHERE tenant_id = %(tenant)s AND subject_id = ANY(
        ARRAY(SELECT subject_id FROM events.state WHERE tenant_id = %(tenant)s
            AND email_id = %(email)s) || ARRAY[%(email)s::uuid])
"""
_KINDS = [int(EventKind.ACCEPTED), int(EventKind.ATTEMPTED)]


async def load_messages(
    tx: Transaction, message_ids: Collection[str]
) -> dict[str, DeliveredMessage]:
    """The messages that the log has, by id."""
    ids = sorted(message_ids)
    if not ids:
        return {}
    found: dict[str, DeliveredMessage] = {}
    delivered: dict[str, int] = {}
    for message_id, kind, payload in await tx.rows(MESSAGES, [ids, _KINDS, first_day_bound(ids)]):
        if kind == EventKind.ACCEPTED:
            found[message_id] = _message_of(MessageAccepted.FromString(payload))
        else:
            attempt = DeliveryAttempted.FromString(payload)
            if attempt.outcome == ATTEMPT_OUTCOME_DELIVERED:
                delivered[message_id] = attempt.attempted_at.ToMilliseconds()
    return {
        one: message._replace(delivered_ms=delivered.get(one, 0)) for one, message in found.items()
    }


def _message_of(accepted: MessageAccepted) -> DeliveredMessage:
    context = accepted.context
    return DeliveredMessage(
        accepted.message_id,
        context.email_id,
        context.tenant_id,
        accepted.account_id,
        context.recipient,
        context.test,
    )


async def lock_engagement(
    tx: Transaction, wanted: Collection[EngagementCounts]
) -> dict[str, EngagementCounts]:
    """The stored engagement of these subjects, by subject; locked until the commit."""
    ordered = sorted(wanted, key=attrgetter("subject_id"))
    ids = [one.subject_id for one in ordered]
    columns = [ids, [one.email_id for one in ordered], [one.tenant_id for one in ordered]]
    await tx.execute(INSERT, columns)
    rows = await tx.rows(LOCK, [ids, first_day_bound(ids)])
    return {
        row[0]: replace(EngagementCounts(*row[:-1]), stored=unpack_stored(row[-1])) for row in rows
    }


async def update_engagement(tx: Transaction, changed: Iterable[EngagementCounts]) -> None:
    ordered = sorted(changed, key=attrgetter("subject_id"))
    numbers = (
        "opens", "clicks", "machine_opens", "machine_clicks", "first_opened_ms",
        "first_clicked_ms", "unsubscribed_ms",
    )  # fmt: skip
    ids = [one.subject_id for one in ordered]
    columns: list[object] = [ids, *([getattr(one, name) for one in ordered] for name in numbers)]
    columns.append([pack_stored(one.stored) for one in ordered])
    await tx.execute(UPDATE, [*columns, first_day_bound(ids)])


async def load_position(tx: Transaction, spool_id: str) -> SpoolPosition:
    rows = await tx.rows(
        "SELECT segment, position FROM events.hit_spools WHERE spool_id = %s", (spool_id,)
    )
    return SpoolPosition(*rows[0]) if rows else SpoolPosition()


async def save_position(tx: Transaction, spool_id: str, position: SpoolPosition) -> None:
    await tx.execute(SAVE_POSITION, (spool_id, *position))


async def engagement_of_email(tx: Transaction, tenant_id: str, email_id: str) -> EngagementCounts:
    """The sums over an email's messages."""
    [row] = await tx.rows(OF_EMAIL, {"tenant": tenant_id, "email": email_id})
    return EngagementCounts(email_id, email_id, tenant_id, *row)
