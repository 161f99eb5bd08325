"""What an event tells of a recipient who wants to be forgotten."""

from google.protobuf.message import Message

from contracts.events.v1.events_pb2 import LinkClicked, MessageOpened
from contracts.ingest.v1.events_pb2 import MessageAccepted
from kernel.redaction import ERASED, AddressPattern, erase, found_anywhere, found_in, pattern_of
from services.events.domain.event_filter import header_tag
from services.events.domain.log_event import LogEvent, log_event_of


def erase_recipient(event: Message, pattern: AddressPattern, *, own: bool) -> bool:
    """Remove the recipient from an event; whether it changed. own: of a message to the recipient,
    of which the subject, the customer's data and the client of hits go too."""
    erased = erase(event, pattern)
    if own and isinstance(event, MessageAccepted):
        kept = event.metadata or event.headers or event.subject != ERASED
        erased = erased or bool(kept)
        event.subject = ERASED
        event.metadata.clear()
        del event.headers[:]
    if own and isinstance(event, MessageOpened | LinkClicked):
        erased = erased or bool(event.hit.ip or event.hit.user_agent)
        event.hit.ip = event.hit.user_agent = ""
    return erased


def without_recipient(log_event: LogEvent) -> LogEvent:
    """A new event of a message whose recipient was erased."""
    if not log_event.recipient or log_event.recipient == ERASED:
        return log_event
    event = type(log_event.payload)()
    event.CopyFrom(log_event.payload)
    erase_recipient(event, pattern_of(log_event.recipient), own=True)
    return log_event_of(event)


def tags_with(event: MessageAccepted, pattern: AddressPattern) -> list[str]:
    """Those by which an email is found and that name the recipient: the name, name:value, and a
    Message-ID of the sender's."""
    message_id = event.own_message_id
    found = [header_tag(message_id)] if found_anywhere(message_id, pattern) else []
    for name, value in event.tags.items():
        full = f"{name}:{value}"
        found += [one for one in (name, full) if found_in(one, pattern)]
    return found
