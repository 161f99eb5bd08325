"""Convert rows to protobuf messages."""

from contracts.delivery.v1.events_pb2 import Reply
from contracts.ingest.v1.events_pb2 import MessageContext
from contracts.router.v1 import router_service_pb2 as pb
from services.router.domain.events import timestamp
from services.router.domain.message import MessageRowState, ScheduledQueue
from services.router.domain.reasons import WaitReason
from services.router.domain.suppressions import Suppression
from services.router.store.requests import MessageView, QueueView
from services.router.store.waiting_messages import CancelableMessage

TRANSIENT = (MessageRowState.EXPECTED, MessageRowState.QUEUED, MessageRowState.HELD)


def message_state(row: MessageView) -> pb.MessageState:
    """queued_reason: the limit of the queue, once the message is due."""
    reason, due_s = row.reason, row.due_s
    if row.state == MessageRowState.QUEUED and row.is_due and row.limited_by:
        reason, due_s = row.limited_by, row.available_at_s or row.due_s
    elif row.state == MessageRowState.QUEUED and not row.is_due and not reason:
        reason = WaitReason.SCHEDULED
    return pb.MessageState(
        message_id=row.message_id,
        state=row.state,
        queued_reason=reason if row.state in TRANSIENT else "",
        due_at=timestamp(due_s),
        attempt=row.attempt,
        attempt_count=row.attempt_count,
        ambiguous=row.ambiguous,
        reply=Reply.FromString(row.reply) if row.reply else None,
        queue_id=row.queue_id,
        egress_id=row.egress_id,
    )


def queue(row: QueueView) -> pb.ScheduledQueue:
    named = ScheduledQueue.of(row.queue_id)
    return pb.ScheduledQueue(
        id=row.queue_id,
        tenant_id=named.tenant_id,
        site=row.site,
        next_at=timestamp(row.next_s) if row.next_s else None,
        limited_by=row.limited_by,
        queued=row.queued,
        limit_scope=row.limit_scope,
        priority=named.priority.name.lower(),
    )


def suppression(row: Suppression) -> pb.Suppression:
    return pb.Suppression(
        address=row.address,
        origin=row.origin,
        created_at=timestamp(row.created_s),
        source_id=row.source_id,
        id=row.suppression_id,
        tenant_id=row.tenant_id,
        account_id=row.account_id,
        list=row.list,
        reason=row.reason,
        note=row.note,
        expires_at=timestamp(row.expires_s) if row.expires_s else None,
    )


def waiting_message(row: CancelableMessage) -> pb.WaitingMessage:
    return pb.WaitingMessage(context=MessageContext.FromString(row.context), site=row.site)
