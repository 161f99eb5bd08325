"""The attempts of claimed webhook deliveries, from the log."""

from collections.abc import Sequence

from contracts.ingest.v1.events_pb2 import MessageAccepted
from kernel.database import Transaction
from services.events.domain.log_event import LogEvent
from services.events.domain.subscription import passes_filters
from services.events.domain.webhook_attempt import WebhookAttempt, webhook_attempt_of
from services.events.store import payloads, webhook_deliveries
from services.events.store.webhook_deliveries import (
    ClaimedWebhookDelivery,
    WebhookDeliveryClaim,
)

ACCEPT_WAIT_MAX_S = 60.0  # how long an event waits for the accept of its message


async def load_attempts(
    tx: Transaction, claimed: Sequence[ClaimedWebhookDelivery], *, token: str
) -> list[WebhookAttempt]:
    """The attempts of claimed deliveries. Those whose events or accepts are not recorded yet are
    released, and those that the filters of their endpoints exclude are removed."""
    entries, accepts = await payloads.load_payloads(
        tx,
        [delivery.event_id for delivery in claimed],
        [delivery.subject_id for delivery in claimed],
    )
    incomplete, excluded, attempts = [], [], []
    for delivery in claimed:
        entry, accepted = entries.get(delivery.event_id), accepts.get(delivery.subject_id)
        lacks_accept = entry is not None and entry.event.email_id and accepted is None
        claim = WebhookDeliveryClaim(delivery.endpoint.id, delivery.position, token)
        if entry is None or (lacks_accept and delivery.age_s < ACCEPT_WAIT_MAX_S):
            incomplete.append(claim)
            continue
        if is_excluded(delivery, entry.event, accepted):
            excluded.append(claim)
            continue
        attempts.append(
            webhook_attempt_of(
                entry,
                accepted,
                endpoint=delivery.endpoint,
                token=token,
                position=delivery.position,
                attempt_count=delivery.attempt_count,
            )
        )
    if incomplete:
        await webhook_deliveries.release_claims(tx, incomplete, delay_s=1.0)
    if excluded:
        await webhook_deliveries.remove(tx, excluded)
    return attempts


def is_excluded(
    delivery: ClaimedWebhookDelivery, log_event: LogEvent, accepted: MessageAccepted | None
) -> bool:
    """Whether the endpoint's filters exclude an event: not every accept was known when its delivery
    was added."""
    endpoint = delivery.endpoint
    if not delivery.is_new or not endpoint.is_filtered:
        return False
    return not passes_filters(endpoint, log_event, accepted)
