"""Reports about messages that were handed over, each once: recorded in the rows of the journal, and
kept as long as they are."""

from collections.abc import Iterable

from contracts.delivery.v1.events_pb2 import DeliveryAttempted
from contracts.ingest.v1.events_pb2 import MessageContext
from contracts.router.v1.events_pb2 import DeliveryAssigned
from kernel.database import Row, Transaction
from services.delivery.domain.returned_mail import SentMessage

# The last attempt that may have handed the message over: the receiving server can report before
# its reply is recorded. A finished attempt has an event, an open one its assignment.
RECORD = """
WITH handed_over AS MATERIALIZED (
    SELECT attempt FROM delivery.attempts
    WHERE message_id = %(message_id)s::uuid
        AND (outcome IN ('delivered', 'ambiguous') OR outcome IS NULL AND stage = 'data_sent')
    ORDER BY attempt DESC LIMIT 1
), known AS MATERIALIZED (
    SELECT FROM delivery.attempts WHERE message_id = %(message_id)s::uuid LIMIT 1
), recorded AS (
    UPDATE delivery.attempts a SET reports = array_append(a.reports, %(report)s::text)
    FROM handed_over
    WHERE a.message_id = %(message_id)s::uuid AND a.attempt = handed_over.attempt
        AND NOT (%(report)s = ANY(coalesce(a.reports, '{}')))
    RETURNING a.assignment, a.attempted
)
SELECT CASE WHEN EXISTS (SELECT FROM recorded) THEN 'recorded'
    WHEN EXISTS (SELECT FROM handed_over) THEN 'repeated'
    WHEN EXISTS (SELECT FROM known) THEN 'not_delivered'
    ELSE 'unknown' END,
    (SELECT assignment FROM recorded), (SELECT attempted FROM recorded)
"""


async def record(
    tx: Transaction, message_ids: Iterable[str], report: str
) -> dict[str, SentMessage | str]:
    """The messages for which this report is new; for others why it has no effect: repeated,
    not_delivered, or unknown (never sent, or past the journal's retention)."""
    found: dict[str, SentMessage | str] = {}
    for message_id in sorted(message_ids):  # in one order, because rows are locked
        [row] = await tx.rows(RECORD, {"message_id": message_id, "report": report})
        found[message_id] = _message_of(row) if row[0] == "recorded" else str(row[0])
    return found


def _message_of(row: Row) -> SentMessage:
    _, assignment, attempted = row
    about: MessageContext | DeliveryAttempted
    if attempted:
        about = DeliveryAttempted.FromString(attempted)
    else:
        about = DeliveryAssigned.FromString(assignment).context
    return SentMessage(
        about.message_id, about.tenant_id, about.email_id, about.recipient, about.test
    )
