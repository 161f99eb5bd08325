"""The attempts of claimed webhook deliveries, from the log."""

from collections import defaultdict
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
# The same for an endpoint with filters: without the accept, nobody knows whether they exclude it.
# The audit repeats an accept that was lost.
FILTER_WAIT_MAX_S = 86_400.0
RETRY_S, LATE_RETRY_S = 1.0, 60.0  # until it is looked for again, from ACCEPT_WAIT_MAX_S on


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
    incomplete: dict[float, list[WebhookDeliveryClaim]] = defaultdict(list)  # by delay
    excluded, attempts = [], []
    for delivery in claimed:
        entry, accepted = entries.get(delivery.event_id), accepts.get(delivery.subject_id)
        claim = WebhookDeliveryClaim(delivery.endpoint.id, delivery.position, token)
        if entry is None or waits_for_accept(delivery, entry.event, accepted):
            is_late = entry is not None and delivery.age_s >= ACCEPT_WAIT_MAX_S
            incomplete[LATE_RETRY_S if is_late else RETRY_S].append(claim)
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
    for delay_s, claims in incomplete.items():
        await webhook_deliveries.release_claims(tx, claims, delay_s=delay_s)
    if excluded:
        await webhook_deliveries.remove(tx, excluded)
    return attempts


def waits_for_accept(
    delivery: ClaimedWebhookDelivery, log_event: LogEvent, accepted: MessageAccepted | None
) -> bool:
    if accepted is not None or not log_event.email_id:
        return False
    is_decisive = delivery.is_new and delivery.endpoint.is_filtered
    return delivery.age_s < (FILTER_WAIT_MAX_S if is_decisive else ACCEPT_WAIT_MAX_S)


def is_excluded(
    delivery: ClaimedWebhookDelivery, log_event: LogEvent, accepted: MessageAccepted | None
) -> bool:
    """Whether the endpoint's filters exclude an event: not every accept was known when its delivery
    was added."""
    endpoint = delivery.endpoint
    if not delivery.is_new or not endpoint.is_filtered:
        return False
    return not passes_filters(endpoint, log_event, accepted)
