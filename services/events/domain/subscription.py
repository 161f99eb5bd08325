"""Which events an endpoint receives."""

from contracts.ingest.v1.events_pb2 import DomainChanged, MessageAccepted
from services.events.domain.endpoint import WebhookEndpoint, subscribes_to
from services.events.domain.log_event import EventKind, LogEvent, is_test


def is_subscribed(
    endpoint: WebhookEndpoint, log_event: LogEvent, name: str, *, accepted: MessageAccepted | None
) -> bool:
    """Whether an endpoint receives an event, or may receive it once the accept of its message is
    known. A test endpoint never receives events of live mail."""
    if endpoint.id == log_event.subject_id or (endpoint.test and not is_test(log_event)):
        return False
    if not subscribes_to(endpoint.event_types, name):
        return False
    return not endpoint.is_filtered or passes_filters(endpoint, log_event, accepted) is not False


def passes_filters(
    endpoint: WebhookEndpoint, log_event: LogEvent, accepted: MessageAccepted | None
) -> bool | None:
    """Whether an event is about mail of the endpoint's domains, tags and streams, or about one of
    the domains. accepted: of the message. None if it takes that to know."""
    if not endpoint.is_filtered or log_event.kind == EventKind.WEBHOOK_TEST:
        return True
    if isinstance(log_event.payload, DomainChanged):
        of_mail = endpoint.tags or endpoint.streams
        return not of_mail and log_event.payload.domain_id in endpoint.domain_ids
    if not log_event.email_id:
        return False
    return None if accepted is None else _is_of(endpoint, accepted)


def _is_of(endpoint: WebhookEndpoint, accepted: MessageAccepted) -> bool:
    domain_id, stream = accepted.context.domain_id, accepted.stream or "transactional"
    return (
        (not endpoint.domain_ids or domain_id in endpoint.domain_ids)
        and (not endpoint.streams or stream in endpoint.streams)
        and (not endpoint.tags or not {*endpoint.tags}.isdisjoint(tags_of(accepted)))
    )


def tags_of(event: MessageAccepted) -> list[str]:
    """The filters that match an email: for each tag its name, and name:value."""
    return [text for name, value in event.tags.items() for text in (name, f"{name}:{value}")]
