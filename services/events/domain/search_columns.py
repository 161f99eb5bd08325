"""What public events of emails are found by: the columns of the log besides its payload."""

from typing import NamedTuple

from services.events.domain.catalog import event_type_of
from services.events.domain.log_event import LogEvent, is_test
from services.events.domain.state import LogEntry

# Stored in the database by number, so new ones go to the end.
SEARCHED_TYPES = (
    "email.sent", "email.scheduled", "email.held", "email.delivered", "email.delivery_delayed",
    "email.bounced", "email.failed", "email.suppressed", "email.canceled", "email.complained",
    "email.opened", "email.clicked", "email.unsubscribed", "email.released",
)  # fmt: skip
TYPE_NUMBERS = {name: number for number, name in enumerate(SEARCHED_TYPES, 1)}


class EventSearchColumns(NamedTuple):
    """type: of TYPE_NUMBERS. site, bounce_class: empty where the event has none. Of an event that
    is not found, all are empty."""

    type: int
    test: bool
    email_id: str
    recipient: str
    site: str
    bounce_class: str


NOT_FOUND = EventSearchColumns(0, False, "", "", "", "")


def search_columns_of(entry: LogEntry) -> EventSearchColumns:
    """NOT_FOUND for internal events, and for those of endpoints, domains and suppressions."""
    if not entry.public_seq or not entry.event.email_id:
        return NOT_FOUND
    log_event: LogEvent = entry.event
    return EventSearchColumns(
        TYPE_NUMBERS[event_type_of(log_event, is_public=True)],
        is_test(log_event),
        log_event.email_id,
        log_event.recipient.lower(),
        getattr(log_event.payload, "site", ""),
        getattr(log_event.payload, "bounce_class", ""),
    )
