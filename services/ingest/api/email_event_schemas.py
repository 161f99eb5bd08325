"""Schemas of the events of emails in responses of the REST API."""

from typing import Any, Literal

from msgspec import Struct

from services.ingest.api.response_schemas import Id, Time


class EventResponse(Struct):
    """An event of an email, with the data of its webhook."""

    id: str
    type: str
    message_id: str
    recipient: str
    seq: int
    created_at: Time
    data: dict[str, Any]
    tenant_id: Id


class FoundEvents(Struct):
    """Newest first. next: the `after` of the next page, null at the end. A page may be short, or
    empty, before that."""

    object: Literal["list"]
    has_more: bool
    next: str | None
    data: list[EventResponse]
