"""Encrypted emails, ready to be committed, and the requests that they are of."""

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from contracts.ingest.v1.events_pb2 import MessageAccepted
from kernel.content import SealedContent
from kernel.outbox import RECORD_BYTES
from kernel.telemetry import record_span
from services.ingest.domain.valid_email import Recipient
from services.ingest.store.acceptance import EmailRow, IdempotencyRecord, MessageRow
from services.ingest.store.quotas import QuotaKey, QuotaReservation


class SealedEmail(NamedTuple):
    """An encrypted email with its ids, ready to be committed."""

    body: SealedContent
    first: MessageAccepted
    recipients: Sequence[tuple[str, Recipient]]
    scheduled_at: datetime | None

    @property
    def email_id(self) -> str:
        return self.first.context.email_id

    @property
    def size(self) -> int:
        """Octets to write: the body once, and one event per recipient."""
        return len(self.body.sealed) + len(self.recipients) * (RECORD_BYTES + self.first.ByteSize())


class AcceptRequest(NamedTuple):
    """The emails of one request, its response and its idempotency record. reserved: what its
    messages use of hard quotas."""

    emails: Sequence[SealedEmail]
    response: bytes
    key: IdempotencyRecord | None
    reserved: QuotaReservation | None


def record_acceptance(email: SealedEmail) -> None:
    """Record the span of an email that is about to be written; the parent of all that follows."""
    context = email.first.context
    began_ns = context.accepted_at.seconds * 1_000_000_000 + context.accepted_at.nanos
    trace = record_span("ingest.accept", context.traceparent.encode(), began_ns=began_ns)
    context.traceparent = (trace or b"").decode()


def email_row(email: SealedEmail) -> EmailRow:
    return EmailRow(
        email_id=email.email_id,
        tenant_id=email.first.context.tenant_id,
        accepted=email.first.SerializeToString(),
        scheduled_at=email.scheduled_at,
        messages=[MessageRow(one, to.address, to.type) for one, to in email.recipients],
    )


def quotas_of(group: Iterable[AcceptRequest]) -> dict[QuotaKey, int]:
    """The messages of a group that count for each hard quota; nearly always none."""
    counts: Counter[QuotaKey] = Counter()
    for one in group:
        if one.reserved is not None:
            messages = sum([len(email.recipients) for email in one.emails])
            counts.update(dict.fromkeys(one.reserved.keys, messages))
    return counts
