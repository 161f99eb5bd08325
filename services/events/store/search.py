"""Searches in the public events of a tenant or an account, newest first.

Few messages match most filters by recipient, domain, tag or Message-ID: their ids come from the
indexes of messages, their events by primary key. If there are too many, and for the other
filters, the index of the owner's events is read from the newest on, so many rows at a time.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple

from kernel import clock
from kernel.database import Row, RowOwner, Transaction
from services.events.domain.event_filter import EventFilter
from services.events.domain.timeline import TimelineEntry
from services.events.store.lists import COLUMNS, timeline_entries

MESSAGES_MAX = 1_000  # whose events are read one message after the other
SCANNED = (1_000, 20_000)  # rows of the first read of the index, and of each further one
SCAN_S = 0.5  # then the page stays short


class SearchPage(NamedTuple):
    """next: the position from which a search goes on; empty at the end."""

    entries: Sequence[TimelineEntry]
    next: str


OF_RECIPIENT = """
SELECT subject_id::text FROM events.state WHERE {owner} = %(owner)s AND {condition}
ORDER BY email_id DESC LIMIT %(messages)s
"""
OF_TAG = """
SELECT s.subject_id::text FROM events.tags AS t
JOIN events.state AS s ON s.email_id = t.email_id AND s.tenant_id = t.tenant_id
WHERE t.{owner} = %(owner)s AND t.tag = %({tag})s
ORDER BY t.email_id DESC LIMIT %(messages)s
"""
# LATERAL finds the partition of each message; an array of ids would open them all for each.
OF_MESSAGES = """
SELECT found.* FROM unnest(%(subjects)s::uuid[]) AS message (id) CROSS JOIN LATERAL (
    SELECT position::text, subject_id::text, event_id::text FROM events.{table} AS entry
    WHERE subject_id = message.id AND {owner} = %(owner)s AND public_seq > 0
        AND position > %(low)s AND position < %(high)s AND {conditions}
    OFFSET 0
) AS found
"""
SCAN = """
(SELECT position, subject_id, event_id, {conditions} AS matches FROM events.{table} AS entry
WHERE {owner} = %(owner)s AND public_seq > 0 AND position > %(low)s AND position < %(high)s
ORDER BY entry.position DESC LIMIT %(rows)s)
"""
SCANS = """
WITH scanned AS MATERIALIZED (
    SELECT * FROM ({log} UNION ALL {unpartitioned_log}) AS both_tables
    ORDER BY position DESC LIMIT %(rows)s
)
SELECT position::text, subject_id::text, event_id::text FROM (
    SELECT * FROM scanned WHERE matches ORDER BY position DESC LIMIT %(limit)s) AS matching
UNION ALL SELECT (SELECT position::text FROM scanned
    ORDER BY position DESC OFFSET %(rows)s - 1 LIMIT 1), NULL, NULL
"""
ENTRIES = """
SELECT {columns} FROM unnest(%(subjects)s::uuid[], %(events)s::uuid[]) AS wanted (subject, event)
CROSS JOIN LATERAL (
    SELECT * FROM events.log WHERE subject_id = wanted.subject AND event_id = wanted.event OFFSET 0
) AS entry
UNION ALL SELECT {columns} FROM events.unpartitioned_log WHERE event_id = ANY(%(events)s::uuid[])
ORDER BY 2 DESC
"""
TABLES = ("log", "unpartitioned_log")
CONDITIONS = {
    "types": "type = ANY(%(types)s::smallint[])",
    "to": "recipient = %(to)s",
    "domain": "right(recipient, length(%(domain)s) + 1) = '@' || %(domain)s",
    "site": "site = %(site)s",
    "bounce_class": "bounce_class = %(bounce_class)s",
    "test_only": "test",
}
TAGGED = """EXISTS (SELECT FROM events.tags AS t WHERE t.tenant_id = entry.tenant_id
    AND t.tag = %({tag})s AND t.email_id = entry.email_id)"""


async def search_events(
    tx: Transaction, owner: RowOwner, event_filter: EventFilter, *, limit: int
) -> SearchPage:
    """A page is short if the search took too long; the next one goes on from there."""
    values = _values(owner, event_filter)
    subjects = await _messages(tx, owner, event_filter, values=values)
    if subjects is None:
        return await _scan(tx, owner, event_filter, values=values, limit=limit)
    rows = []
    if subjects:
        parts = [
            OF_MESSAGES.format(
                table=table, owner=_owner(owner), conditions=_conditions(event_filter)
            )
            for table in TABLES
        ]
        rows = await tx.rows(
            f"{' UNION ALL '.join(parts)} ORDER BY 1 DESC LIMIT %(limit)s",
            {**values, "subjects": subjects, "limit": limit + 1},
        )
    return SearchPage(await _load(tx, rows[:limit]), rows[limit - 1][0] if rows[limit:] else "")


def _values(owner: RowOwner, event_filter: EventFilter) -> dict[str, Any]:
    low, high = event_filter.bounds()
    return {
        "owner": owner.tenant_id or owner.account_id,
        "low": low,
        "high": high,
        "types": list(event_filter.types),
        "to": event_filter.to,
        "domain": event_filter.domain,
        "tag": event_filter.tag,
        "header_tag": event_filter.header_tag,
        "subject": event_filter.subject_id,
        "site": event_filter.site,
        "bounce_class": event_filter.bounce_class,
        "messages": MESSAGES_MAX + 1,
    }


def _owner(owner: RowOwner) -> str:
    return "tenant_id" if owner.tenant_id else "account_id"


async def _messages(
    tx: Transaction, owner: RowOwner, event_filter: EventFilter, *, values: dict[str, Any]
) -> list[str] | None:
    """The messages that the narrowest of the filters matches; None if there are too many, or no
    such filter. The others are checked event by event."""
    column = _owner(owner)
    statements = {
        "header_tag": OF_TAG.format(owner=column, tag="header_tag"),
        "to": OF_RECIPIENT.format(owner=column, condition="recipient = %(to)s"),
        "tag": OF_TAG.format(owner=column, tag="tag"),
        "domain": OF_RECIPIENT.format(owner=column, condition="domain = %(domain)s"),
    }
    for name, statement in statements.items():
        if getattr(event_filter, name):
            rows = await tx.rows(statement, values)
            if len(rows) <= MESSAGES_MAX:
                named = {event_filter.subject_id} - {""} if name == "header_tag" else set()
                return sorted({row[0] for row in rows} | named)
    return None


async def _scan(
    tx: Transaction,
    owner: RowOwner,
    event_filter: EventFilter,
    *,
    values: dict[str, Any],
    limit: int,
) -> SearchPage:
    """Read the owner's events, newest first, until the page is full or the time is up."""
    conditions = _conditions(event_filter)
    scans = {
        table: SCAN.format(table=table, owner=_owner(owner), conditions=conditions)
        for table in TABLES
    }
    found: list[Row] = []
    rows_max, until_s = SCANNED[0], clock.monotonic_s() + SCAN_S
    while True:
        given = {**values, "rows": rows_max, "limit": limit + 1 - len(found)}
        *rows, [last, _, _] = await tx.rows(SCANS.format(**scans), given)
        found += rows
        if len(found) > limit:
            return SearchPage(await _load(tx, found[:limit]), found[limit - 1][0])
        if last is None or clock.monotonic_s() > until_s:
            return SearchPage(await _load(tx, found), last or "")
        values, rows_max = {**values, "high": last}, SCANNED[1]


def _conditions(event_filter: EventFilter) -> str:
    """Of an event of the table `entry`."""
    parts = [sql for name, sql in CONDITIONS.items() if getattr(event_filter, name)]
    tags = {"tag": event_filter.tag, "header_tag": event_filter.header_tag}
    tagged = {name: TAGGED.format(tag=name) for name, given in tags.items() if given}
    if event_filter.subject_id:  # which may be a part of a Message-ID that the sender chose
        tagged["header_tag"] = f"(entry.subject_id = %(subject)s OR {tagged['header_tag']})"
    parts += tagged.values()
    return " AND ".join(["entry.email_id IS NOT NULL", *parts])


async def _load(tx: Transaction, rows: Sequence[Row]) -> list[TimelineEntry]:
    """The events of these keys, newest first."""
    if not rows:
        return []
    _, subjects, events = zip(*rows, strict=True)
    statement = ENTRIES.format(columns=COLUMNS)
    found = await tx.rows(statement, {"subjects": list(subjects), "events": list(events)})
    return timeline_entries(found)
