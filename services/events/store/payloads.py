"""The payloads of claimed deliveries: their events, and the accepts of their messages."""

from collections.abc import Sequence

from contracts.ingest.v1.events_pb2 import MessageAccepted
from kernel.database import Transaction
from services.events.domain.log_event import (
    EventKind,
    LogEvent,
    decode_payload,
    endpoint_log_event,
    log_event_of,
)
from services.events.domain.state import LogEntry


async def load_payloads(
    tx: Transaction, event_ids: Sequence[str], subjects: Sequence[str]
) -> tuple[dict[str, LogEntry], dict[str, MessageAccepted]]:
    """Entries by event id, and accepts by message id, in one query."""
    rows = await tx.rows(
        "SELECT event_id::text, subject_id::text, kind, seq, public_seq, payload FROM events.log"
        " WHERE subject_id = ANY(%(subjects)s::uuid[])"
        " AND (kind = %(accepted)s OR event_id = ANY(%(events)s::uuid[]))"
        " UNION ALL SELECT event_id::text, subject_id::text, kind, seq, public_seq, payload"
        " FROM events.unpartitioned_log WHERE event_id = ANY(%(events)s::uuid[])",
        {
            "subjects": list(subjects),
            "events": list(event_ids),
            "accepted": int(EventKind.ACCEPTED),
        },
    )
    entries, accepts = {}, {}
    for event_id, subject_id, kind, seq, public_seq, payload in rows:
        log_event = log_event_from_row(kind, event_id, payload=payload)
        entries[event_id] = LogEntry(log_event, seq, public_seq)
        if isinstance(log_event.payload, MessageAccepted):
            accepts[subject_id] = log_event.payload
    return entries, accepts


def log_event_from_row(kind: int, event_id: str, *, payload: bytes) -> LogEvent:
    """The log event of a stored row."""
    event = decode_payload(kind, payload)
    if kind in (EventKind.WEBHOOK_DISABLED, EventKind.WEBHOOK_TEST):
        return endpoint_log_event(event, EventKind(kind), event_id)  # type: ignore[arg-type]
    return log_event_of(event)
