"""Which events an endpoint receives."""

from services.events.domain.endpoint import Endpoint, subscribes_to
from services.events.domain.log_event import LogEvent, is_test


def is_subscribed(endpoint: Endpoint, log_event: LogEvent, name: str) -> bool:
    """Whether an endpoint receives an event; a test endpoint never receives events of live mail."""
    if endpoint.id == log_event.subject_id or (endpoint.test and not is_test(log_event)):
        return False
    return subscribes_to(endpoint.event_types, name)
