"""Emails as the gRPC API shows them."""

from google.protobuf.timestamp_pb2 import Timestamp

from contracts.events.v1.events_service_pb2 import LoggedEmail
from contracts.ingest.v1.email_service_pb2 import EmailStatus, RecipientStatus
from contracts.ingest.v1.events_pb2 import RecipientType
from services.ingest.api.emails import Known
from services.ingest.domain.event import timestamp
from services.ingest.store.emails import KeptMessage


def shown(known: Known) -> EmailStatus:
    first = known.email.first
    scheduled = known.email.scheduled_at
    status = EmailStatus(
        id=first.envelope.email_id,
        to=first.to,
        subject=first.subject,
        created_at=first.envelope.accepted_at,
        scheduled_at=timestamp(scheduled) if scheduled else None,
        last_event=known.last_event,
        recipients=[_recipient(one, known) for one in known.email.messages],
        unavailable=known.unavailable,
    )
    setattr(status, "from", getattr(first, "from"))
    return status


def _recipient(one: KeptMessage, known: Known) -> RecipientStatus:
    state = known.state_of(one)
    kind = RecipientType.Name(one.recipient.type)  # type: ignore[arg-type]
    return RecipientStatus(
        message_id=one.message_id,
        recipient=one.recipient.address,
        type=kind.rpartition("_")[2].lower(),
        state=state.state
        or one.closed
        or ("unknown" if "router" in known.unavailable else "accepted"),
        wait_reason=state.wait_reason,
        due_at=_set(state.due_at),
        tries=state.tries,
        reply=state.reply.text,
        ambiguous=state.ambiguous,
    )


def shown_logged(email: LoggedEmail) -> EmailStatus:
    status = EmailStatus(
        id=email.id,
        to=email.to,
        subject=email.subject,
        created_at=email.created_at,
        scheduled_at=_set(email.scheduled_at),
        last_event=email.last_event,
    )
    setattr(status, "from", getattr(email, "from"))
    return status


def _set(stamp: Timestamp) -> Timestamp | None:
    return stamp if stamp.seconds else None
