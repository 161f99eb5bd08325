"""Removes recipients from the log, page by page. Rows stay, so that a repeat is still a repeat and
counts are the same."""

from collections.abc import Collection, Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from contracts.ingest.v1.events_pb2 import MessageAccepted
from contracts.router.v1.events_pb2 import SuppressionChanged
from kernel.database import RowOwner, Transaction
from kernel.ids import NIL, lower_bound_at
from kernel.redaction import ERASED, AddressPattern, erase_bytes, pattern_of
from services.events.domain.erasure import erase_recipient, tags_with
from services.events.domain.log_event import EventKind, decode_payload
from services.events.domain.webhook_attempt_record import decode_attempt
from services.events.store.exports import delete_with_mail_of

OF_RECIPIENT = """
SELECT subject_id::text, email_id::text, tenant_id::text FROM events.state
WHERE {owner} = %(owner)s AND recipient = lower(%(address)s) AND subject_id < %(until)s
    AND (email_id, subject_id) > (%(email_id)s, %(message_id)s)
ORDER BY email_id, subject_id LIMIT %(limit)s
"""
# In the order in which batches lock states.
LOCK = """
SELECT subject_id::text FROM events.state
WHERE email_id = ANY(%s::uuid[]) AND tenant_id = %s ORDER BY subject_id FOR UPDATE
"""
EVENTS = """
SELECT subject_id::text, event_id::text, kind, payload, position::text, '{table}'
FROM events.{table} WHERE subject_id = ANY(%(subjects)s::uuid[])
"""
TABLES = ("log", "unpartitioned_log")
UPDATE = """
UPDATE events.{table} AS t SET payload = v.payload
FROM unnest(%s::uuid[], %s::uuid[], %s::bytea[]) AS v (subject_id, event_id, payload)
WHERE t.subject_id = v.subject_id AND t.event_id = v.event_id
"""
COLUMNS = """
UPDATE events.{table} SET recipient = %s
WHERE subject_id = ANY(%s::uuid[]) AND recipient IS NOT NULL
"""
STATES = """
UPDATE events.state SET recipient = %s
WHERE subject_id = ANY(%s::uuid[]) AND email_id = ANY(%s::uuid[])
"""
TAGS = """
DELETE FROM events.tags AS t USING unnest(%s::uuid[], %s::uuid[], %s::text[])
    AS v (tenant_id, email_id, tag)
WHERE t.tenant_id = v.tenant_id AND t.email_id = v.email_id AND t.tag = v.tag
"""
# Those that an endpoint has responded to, or may be responding to: nobody claims them meanwhile.
DELIVERIES = """
SELECT endpoint_id::text, position::text, attempts FROM events.webhook_deliveries
WHERE endpoint_id IN (SELECT id FROM events.webhooks WHERE owner_id = ANY(%(owners)s::uuid[])
        OR owner_id IN (SELECT account_id FROM events.tenant_accounts
            WHERE tenant_id = ANY(%(owners)s::uuid[])))
    AND position = ANY(%(positions)s::uuid[]) AND (attempts <> '{}' OR error <> '' OR state = 0)
ORDER BY endpoint_id, position FOR UPDATE
"""
WITHOUT_TEXT = """
UPDATE events.webhook_deliveries AS t SET error = '', attempts = v.attempts::text[], token = NULL,
    due_at = CASE WHEN token IS NULL THEN due_at ELSE now() END
FROM unnest(%s::uuid[], %s::uuid[], %s::text[]) AS v (endpoint_id, position, attempts)
WHERE t.endpoint_id = v.endpoint_id AND t.position = v.position
"""
# What is found may be a part of a longer address, so that it stays. A page has what does not match
# too, or it would be searched for through all suppressions of an account.
SUPPRESSIONS = f"""
SELECT entry.tenant_id::text, entry.position::text, entry.event_id::text, CASE WHEN EXISTS (
    SELECT FROM unnest(%(spellings)s::text[]) AS spelled WHERE
    strpos(lower(encode(entry.payload, 'escape')),
        lower(encode(convert_to(spelled, 'UTF8'), 'escape'))) > 0) THEN entry.payload END
FROM (SELECT id FROM unnest({{owners}}) AS id WHERE id >= %(tenant)s ORDER BY id) AS owner
CROSS JOIN LATERAL (
    SELECT tenant_id, position, event_id, payload FROM events.unpartitioned_log
    WHERE tenant_id = owner.id AND kind = {int(EventKind.SUPPRESSION)} AND (position, event_id) > (
        CASE WHEN owner.id = %(tenant)s THEN %(position)s::uuid ELSE %(nil)s END,
        CASE WHEN owner.id = %(tenant)s THEN %(event)s::uuid ELSE %(nil)s END)
    ORDER BY position, event_id LIMIT %(limit)s
) AS entry
ORDER BY owner.id, entry.position, entry.event_id LIMIT %(limit)s
"""  # noqa: S608 - our own numbers
UPDATE_SUPPRESSION = "UPDATE events.unpartitioned_log SET payload = %b WHERE event_id = %s"
OWNERS = {
    True: "ARRAY[%(owner)s::uuid]",
    False: "ARRAY(SELECT tenant_id FROM events.tenant_accounts WHERE account_id = %(owner)s)"
    " || %(owner)s::uuid",
}
PAGE_MAX = 1_000


class SuppressionPosition(NamedTuple):
    """The event of a suppression after which a page begins. tenant_id: or the account."""

    tenant_id: str
    position: str
    event_id: str


START = SuppressionPosition(str(NIL), str(NIL), str(NIL))


class RecipientMessage(NamedTuple):
    message_id: str
    email_id: str
    tenant_id: str


class StoredEvent(NamedTuple):
    message_id: str
    event_id: str
    kind: int
    payload: bytes
    position: str
    table: str


async def messages_of(
    tx: Transaction,
    owner: RowOwner,
    address: str,
    *,
    until: datetime,
    after: RecipientMessage,
    limit: int,
) -> list[RecipientMessage]:
    """Those that were accepted before a time, by email."""
    rows = await tx.rows(
        OF_RECIPIENT.format(owner="tenant_id" if owner.tenant_id else "account_id"),
        {
            "owner": owner.tenant_id or owner.account_id,
            "address": address,
            "until": lower_bound_at(until),
            "limit": limit,
            **after._asdict(),
        },
    )
    return [RecipientMessage(*row) for row in rows]


async def erase_messages(
    tx: Transaction, messages: Sequence[RecipientMessage], pattern: AddressPattern
) -> None:
    """Of one tenant. The other messages of their emails have the recipient in the To field."""
    if not messages:
        return
    tenant_id = messages[0].tenant_id
    emails = sorted({one.email_id for one in messages})
    subjects = {row[0] for row in await tx.rows(LOCK, (emails, tenant_id))}
    own = {one.message_id for one in messages} & subjects
    events = " UNION ALL ".join(EVENTS.format(table=table) for table in TABLES)
    rows = await tx.rows(events, {"subjects": sorted(subjects)})
    stored = [StoredEvent(*row) for row in rows]
    await _erase_tags(tx, stored, pattern)
    await _erase_payloads(tx, stored, pattern, own=own)
    positions = [one.position for one in stored if one.message_id in own]
    await _erase_responses(tx, [tenant_id], positions)
    for table in TABLES:
        await tx.execute(COLUMNS.format(table=table), (ERASED, sorted(own)))
    await tx.execute(STATES, (ERASED, sorted(own), emails))
    await delete_with_mail_of(tx, tenant_id)


async def _erase_payloads(
    tx: Transaction, stored: Iterable[StoredEvent], pattern: AddressPattern, *, own: Collection[str]
) -> None:
    changed: dict[str, list[tuple[str, str, bytes]]] = {table: [] for table in TABLES}
    for one in stored:
        event = decode_payload(one.kind, one.payload)
        if erase_recipient(event, pattern, own=one.message_id in own):
            row = (one.message_id, one.event_id, event.SerializeToString())
            changed[one.table].append(row)
    for table, rows in changed.items():
        if rows:
            columns = [list(one) for one in zip(*rows, strict=True)]
            await tx.execute(UPDATE.format(table=table), columns)


async def _erase_tags(
    tx: Transaction, stored: Iterable[StoredEvent], pattern: AddressPattern
) -> None:
    found = []
    for one in stored:
        if one.kind == EventKind.ACCEPTED:
            event = MessageAccepted.FromString(one.payload)
            context = event.context
            found += [
                (context.tenant_id, context.email_id, tag) for tag in tags_with(event, pattern)
            ]
    if found:
        await tx.execute(TAGS, [list(one) for one in zip(*found, strict=True)])


async def _erase_responses(
    tx: Transaction, owners: Sequence[str], positions: Sequence[str]
) -> None:
    """What endpoints responded to the events may repeat them. What one will respond to a request
    that is under way is not recorded: its claim ends, and the request is repeated."""
    given = {"owners": list(owners), "positions": list(positions)}
    rows = []
    for endpoint_id, position, attempts in await tx.rows(DELIVERIES, given):
        kept = [_without_texts(one) for one in attempts]
        rows.append((endpoint_id, position, _array(kept)))
    if rows:
        await tx.execute(WITHOUT_TEXT, [list(one) for one in zip(*rows, strict=True)])


def _without_texts(attempt: str) -> str:
    one = decode_attempt(attempt)
    return type(one)(one.id, one.status, one.duration_ms, "", one.error and ERASED).encode()


def _array(texts: Iterable[str]) -> str:
    """A text[] as text: arrays of arrays of different lengths cannot be sent."""
    quoted = (one.replace("\\", "\\\\").replace('"', '\\"') for one in texts)
    return "{" + ",".join(f'"{one}"' for one in quoted) + "}"


async def erase_suppression_events(
    tx: Transaction, owner: RowOwner, address: str, *, after: SuppressionPosition
) -> SuppressionPosition | None:
    """A page; returns where the next one begins, if there may be one."""
    owners = OWNERS[owner.tenant_id is not None]
    given = {
        "owner": owner.tenant_id or owner.account_id,
        "spellings": sorted({address, address.lower(), address.upper()}),
        "tenant": after.tenant_id,
        "position": after.position,
        "event": after.event_id,
        "nil": NIL,
        "limit": PAGE_MAX,
    }
    rows = await tx.rows(SUPPRESSIONS.format(owners=owners), given)
    pattern, found = pattern_of(address), []
    for *place, payload in rows:
        if payload and (erased := erase_bytes(SuppressionChanged, payload, pattern)) != payload:
            found.append(SuppressionPosition(*place))
            await tx.execute(UPDATE_SUPPRESSION, (erased, found[-1].event_id))
    if found:
        tenants = sorted({one.tenant_id for one in found})
        await _erase_responses(tx, tenants, [one.position for one in found])
    return SuppressionPosition(*rows[-1][:3]) if len(rows) == PAGE_MAX else None
