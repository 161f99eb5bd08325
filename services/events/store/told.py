"""What a claimed task has to tell: its event, and the accept of its message."""

from collections.abc import Sequence

from contracts.ingest.v1.events_pb2 import MessageAccepted
from kernel.database import Transaction
from services.events.domain.facts import Fact, Kind, decode, fact_of, of_endpoint
from services.events.domain.state import Entry


async def load(
    tx: Transaction, event_ids: Sequence[str], subjects: Sequence[str]
) -> tuple[dict[str, Entry], dict[str, MessageAccepted]]:
    """Entries by event id, accepts by message id: two lookups in the log for any number."""
    rows = await tx.rows(
        "SELECT event_id::text, subject_id::text, kind, seq, told, payload FROM events.log"
        " WHERE subject_id = ANY(%(subjects)s::uuid[])"
        " AND (kind = %(accepted)s OR event_id = ANY(%(events)s::uuid[]))"
        " UNION ALL SELECT event_id::text, subject_id::text, kind, seq, told, payload"
        " FROM events.facts WHERE event_id = ANY(%(events)s::uuid[])",
        {"subjects": list(subjects), "events": list(event_ids), "accepted": int(Kind.ACCEPTED)},
    )
    entries, accepts = {}, {}
    for event_id, subject_id, kind, seq, told, payload in rows:
        fact = restored(kind, event_id, payload=payload)
        entries[event_id] = Entry(fact, seq, told)
        if isinstance(fact.event, MessageAccepted):
            accepts[subject_id] = fact.event
    return entries, accepts


def restored(kind: int, event_id: str, *, payload: bytes) -> Fact:
    """The fact of a row."""
    event = decode(kind, payload)
    if kind in (Kind.WEBHOOK_DISABLED, Kind.WEBHOOK_TEST):
        return of_endpoint(event, Kind(kind), event_id)  # type: ignore[arg-type]
    return fact_of(event)
