"""The events of a message, as the services emit them."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from google.protobuf.message import Message
from google.protobuf.timestamp_pb2 import Timestamp

from contracts.delivery.v1.events_pb2 import (
    ATTEMPT_OUTCOME_DELIVERED,
    ATTEMPT_OUTCOME_PERMANENT,
    ATTEMPT_OUTCOME_TEMPORARY,
    BounceReceived,
    ComplaintReceived,
    DeliveryAttempted,
    Reply,
)
from contracts.ingest.v1.events_pb2 import (
    PRIORITY_EXPRESS,
    RECIPIENT_TYPE_TO,
    MessageAccepted,
    MessageContext,
)
from contracts.router.v1.events_pb2 import (
    CLOSED_STATE_BOUNCED,
    CLOSED_STATE_DELIVERED,
    REVIEW_RELEASED,
    ClosedState,
    DeliveryAssigned,
    HeldMessageReviewed,
    MessageClosed,
    MessageDelayed,
    Review,
    Reviewer,
)
from contracts.shield.v1.events_pb2 import VERDICT_PASS, MessageScreened
from kernel.ids import uuid7_text

ACCEPTED_AT = datetime.now(UTC).replace(microsecond=0)
ACCEPTED = Reply(
    code=250, enhanced="2.0.0", text="queued as 1", step="end_of_data", mx="mx.example.net"
)
DEFERRED = Reply(code=451, enhanced="4.7.1", text="greylisted", step="rcpt", mx="mx.example.net")
REFUSED = Reply(code=550, enhanced="5.1.1", text="no such user", step="rcpt", mx="mx.example.net")


class MessageEvents:
    """One message; each method returns an event about it."""

    def __init__(
        self,
        recipient: str = "ann@example.net",
        *,
        tenant_id: str = "",
        email_id: str = "",
        scheduled_s: int = 0,
        tags: dict[str, str] | None = None,
        account_id: str = "",
        test: bool = False,
    ) -> None:
        self.account_id = account_id
        self.own_message_id = ""
        self.test = test
        self.message_id = uuid7_text()
        self.tenant_id = tenant_id or str(uuid4())
        self.email_id = email_id or uuid7_text()
        self.recipient = recipient
        self.tags = tags or {}
        self.ids: dict[str, Any] = {
            "message_id": self.message_id,
            "tenant_id": self.tenant_id,
            "email_id": self.email_id,
            "recipient": recipient,
        }
        self.context = MessageContext(
            **self.ids,
            recipient_type=RECIPIENT_TYPE_TO,
            priority=PRIORITY_EXPRESS,
            content_ref="now/2026-11-23/segment:0:100",
            content_bytes=10_000,
            accepted_at=stamp(ACCEPTED_AT),
            due_at=stamp(ACCEPTED_AT + timedelta(seconds=scheduled_s)),
            expires_at=stamp(ACCEPTED_AT + timedelta(hours=72)),
            sender="shop@example.com",
            return_path="b-0123456789abcdef@bounce.example.com",
            test=test,
        )

    def accepted(self) -> MessageAccepted:
        event = MessageAccepted(
            message_id=self.message_id,
            priority=PRIORITY_EXPRESS,
            context=self.context,
            to=["ann@example.net"],
            subject="Your order",
            tags=self.tags,
            metadata={"order": "17"},
            stream="transactional",
            account_id=self.account_id,
            own_message_id=self.own_message_id,
        )
        setattr(event, "from", "Shop <shop@example.com>")
        return event

    def screened(self) -> MessageScreened:
        return MessageScreened(
            message_id=self.message_id,
            priority=PRIORITY_EXPRESS,
            context=self.context,
            verdict=VERDICT_PASS,
            score=0.5,
        )

    def reviewed(self, review: Review.ValueType = REVIEW_RELEASED) -> HeldMessageReviewed:
        return HeldMessageReviewed(
            message_id=self.message_id,
            context=self.context,
            review=review,
            reason="asked the sender",
            reviewer=Reviewer(kind="account", key_id="k", client="192.0.2.1"),
            score=6.5,
            model_version="1-abc",
            version=1,
        )

    def assigned(self, attempt: int = 1) -> DeliveryAssigned:
        return DeliveryAssigned(
            message_id=self.message_id,
            attempt=attempt,
            egress_id="default",
            site="example.net",
            priority=PRIORITY_EXPRESS,
            context=self.context,
            assigned_at=stamp(ACCEPTED_AT + timedelta(seconds=attempt * 300 - 1)),
        )

    def attempted(self, attempt: int = 1, *, reply: Reply = ACCEPTED) -> DeliveryAttempted:
        outcomes = {
            2: ATTEMPT_OUTCOME_DELIVERED,
            4: ATTEMPT_OUTCOME_TEMPORARY,
            5: ATTEMPT_OUTCOME_PERMANENT,
        }
        return DeliveryAttempted(
            **self.ids,
            attempt=attempt,
            outcome=outcomes[reply.code // 100],
            reply=reply,
            connected=True,
            attempted_at=stamp(ACCEPTED_AT + timedelta(seconds=attempt * 300)),
            duration_ms=12,
            egress_id="default",
            site="example.net",
        )

    def delayed(self, attempt: int = 1) -> MessageDelayed:
        return MessageDelayed(
            **self.ids,
            attempt=attempt,
            attempt_count=attempt,
            reply=DEFERRED,
            next_attempt_at=stamp(ACCEPTED_AT + timedelta(minutes=5)),
        )

    def closed(
        self,
        state: "ClosedState.ValueType" = CLOSED_STATE_DELIVERED,
        *,
        reply: Reply = ACCEPTED,
        reason: str = "",
    ) -> MessageClosed:
        bounce_class = "invalid_recipient" if state == CLOSED_STATE_BOUNCED else ""
        return MessageClosed(
            **self.ids,
            state=state,
            reply=reply,
            reason=reason,
            bounce_class=bounce_class,
            attempt=1,
            test=self.test,
            closed_at=stamp(ACCEPTED_AT + timedelta(seconds=3600)),
        )

    def complained(self) -> ComplaintReceived:
        later = stamp(ACCEPTED_AT + timedelta(seconds=7200))
        return ComplaintReceived(**self.ids, feedback_type="abuse", source="isp", received_at=later)

    def bounced_late(self) -> BounceReceived:
        later = stamp(ACCEPTED_AT + timedelta(seconds=7200))
        return BounceReceived(
            **self.ids, reply=REFUSED, bounce_class="invalid_recipient", received_at=later
        )

    def delivered(self) -> list[Message]:
        """The events of a message that is delivered at the first attempt."""
        return [
            self.accepted(),
            self.screened(),
            self.assigned(),
            self.attempted(),
            self.closed(),
        ]


def stamp(moment: datetime) -> Timestamp:
    timestamp = Timestamp()
    timestamp.FromDatetime(moment)
    return timestamp
