"""New messages: the first state of what was screened, or of what ingest names earlier."""

from collections.abc import Callable
from typing import NamedTuple

from contracts.ingest.v1.events_pb2 import PRIORITY_BULK, MessageContext
from contracts.router.v1.events_pb2 import MessageClosed
from contracts.shield.v1.events_pb2 import VERDICT_BLOCK, VERDICT_PASS, MessageScreened
from mail.address import domain_of
from services.router.domain.events import ClosedRow, message_closed, unix_s
from services.router.domain.message import (
    SANDBOX,
    UNRESOLVED,
    MessageRowState,
    Priority,
    ScheduledQueue,
)
from services.router.domain.reasons import WaitReason
from services.router.domain.suppressions import address_hash

LIFETIME_S = 72 * 3600.0
REASON_MAX = 500


class NewMessage(NamedTuple):
    """A row to insert, or the values for a row in state `expected`. list: of a broadcast.
    is_scheduled: for a time that its sender chose; if not, it is due at once."""

    message_id: str
    tenant_id: str
    email_id: str
    queue_id: str
    site: str
    state: MessageRowState
    reason: str
    due_s: float
    is_scheduled: bool
    expires_s: float
    address_hash: bytes
    test: bool
    list: str
    context: bytes


def screened_message(event: MessageScreened, site_of: Callable[[str], str | None]) -> NewMessage:
    """site_of: the known site of a domain, or None. A message with an unknown verdict is held."""
    if event.verdict == VERDICT_PASS:
        return new_message(event.context, MessageRowState.QUEUED, site_of=site_of)
    rules = ", ".join(reason.rule for reason in event.reasons)[:REASON_MAX]
    if event.verdict == VERDICT_BLOCK:
        return new_message(
            event.context, MessageRowState.FAILED, reason=f"blocked: {rules}".rstrip(": ")
        )
    return new_message(
        event.context, MessageRowState.HELD, reason=f"held: {rules}".rstrip(": "), site_of=site_of
    )


def new_message(
    context: MessageContext,
    state: MessageRowState,
    *,
    reason: str = "",
    site_of: Callable[[str], str | None] = lambda _: None,
) -> NewMessage:
    queue = queue_of(context, site_of)
    if state is MessageRowState.QUEUED and queue.site == UNRESOLVED:
        reason = WaitReason.DNS.value
    accepted_s = unix_s(context.accepted_at)
    due_s = unix_s(context.due_at) or accepted_s
    return NewMessage(
        message_id=context.message_id,
        tenant_id=context.tenant_id,
        email_id=context.email_id,
        queue_id=queue.queue_id,
        site=queue.site,
        state=state,
        reason=reason,
        due_s=due_s,
        is_scheduled=due_s > accepted_s,
        expires_s=unix_s(context.expires_at) or accepted_s + LIFETIME_S,
        address_hash=address_hash(context.recipient),
        test=context.test,
        list=context.list if context.broadcast else "",
        context=context.SerializeToString(),
    )


def queue_of(context: MessageContext, site_of: Callable[[str], str | None]) -> ScheduledQueue:
    """Test mail has its own queue; a message without a known site waits for DNS in the queue of its
    domain."""
    domain = domain_of(context.recipient)
    site = SANDBOX if context.test else site_of(domain)
    priority = Priority.BULK if context.priority == PRIORITY_BULK else Priority.NORMAL
    if site:
        limited = context.campaign_limited and not context.test
        campaign_id = context.campaign_id if limited else ""
        return ScheduledQueue(context.tenant_id, site, priority, campaign_id=campaign_id)
    return ScheduledQueue(context.tenant_id, UNRESOLVED, priority, domain)


def closed_at_once(new_message: NewMessage, closed_s: float) -> MessageClosed:
    """The event of a message that was blocked as it came from screening."""
    return message_closed(
        ClosedRow(
            new_message.message_id,
            new_message.state,
            new_message.reason,
            attempt=0,
            ambiguous=False,
            reply=b"",
            bounce_class="",
            closed_s=closed_s,
            context=new_message.context,
            queue_id=new_message.queue_id,
        )
    )
