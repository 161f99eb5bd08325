"""Emails as protobuf messages of the gRPC API."""

from google.protobuf.timestamp_pb2 import Timestamp

from contracts.events.v1.events_service_pb2 import LoggedEmail, LoggedEvent
from contracts.ingest.v1.email_service_pb2 import (
    EmailEngagement,
    EmailEventInfo,
    EmailStatus,
    RecipientStatus,
    ScoreEmailResponse,
)
from contracts.ingest.v1.events_pb2 import RecipientType
from contracts.shield.v1.shield_service_pb2 import ScoreResponse
from services.ingest.api.emails import EmailWithStates
from services.ingest.api.grpc.base import proto_from_json
from services.ingest.api.scoring import score_to_json
from services.ingest.api.views import event_to_json
from services.ingest.domain.accepted_event import timestamp
from services.ingest.store.emails import StoredMessage


def to_proto(found: EmailWithStates) -> EmailStatus:
    first = found.email.first
    scheduled = found.email.scheduled_at
    status = EmailStatus(
        id=first.context.email_id,
        tenant_id=first.context.tenant_id,
        to=first.to,
        subject=first.subject,
        created_at=first.context.accepted_at,
        scheduled_at=timestamp(scheduled) if scheduled else None,
        last_event=found.last_event,
        recipients=[_recipient(one, found) for one in found.email.messages],
        engagement=_engagement(found.logged),
        unavailable=found.unavailable,
    )
    setattr(status, "from", getattr(first, "from"))
    return status


def _engagement(logged: LoggedEmail) -> EmailEngagement:
    """Both messages have the same fields."""
    return EmailEngagement.FromString(logged.engagement.SerializeToString())


def _recipient(one: StoredMessage, found: EmailWithStates) -> RecipientStatus:
    state = found.state_of(one)
    kind = RecipientType.Name(one.recipient.type)  # type: ignore[arg-type]
    return RecipientStatus(
        message_id=one.message_id,
        recipient=one.recipient.address,
        type=kind.rpartition("_")[2].lower(),
        state=state.state
        or one.closed_state
        or ("unknown" if "router" in found.unavailable else "accepted"),
        queued_reason=state.queued_reason,
        due_at=_set(state.due_at),
        attempt_count=state.attempt_count,
        reply=state.reply.text,
        ambiguous=state.ambiguous,
    )


def logged_email_to_proto(email: LoggedEmail) -> EmailStatus:
    status = EmailStatus(
        id=email.id,
        tenant_id=email.tenant_id,
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


def event_to_proto(event: LoggedEvent) -> EmailEventInfo:
    return proto_from_json(EmailEventInfo, event_to_json(event))


def score_to_proto(response: ScoreResponse) -> ScoreEmailResponse:
    return proto_from_json(ScoreEmailResponse, score_to_json(response))
