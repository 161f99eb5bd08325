"""Schemas of responses about webhooks, for the OpenAPI document."""

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

from services.ingest.api.response_schemas import Id, Time


class WebhookResponse(Struct):
    """A webhook endpoint. tenant_id: null if it belongs to an account; tenant_ids are then those
    whose events it receives, all if empty. signing_secret: in the responses to create, get and
    rotate only, as are the headers of its requests. previous_secret_expires_at: until then the
    secret before signs too."""

    object: Literal["webhook"]
    id: Id
    tenant_id: Id | None
    tenant_ids: list[Id]
    endpoint: str
    events: list[str]
    domain_ids: list[Id]
    tags: list[str]
    streams: list[str]
    svix_headers: bool
    status: Literal["enabled", "disabled"]
    disabled_reason: str | None
    created_at: Time
    previous_secret_expires_at: Time | None
    signing_secret: str | UnsetType = UNSET
    headers: dict[str, str] | UnsetType = UNSET


class TestEvent(Struct):
    """The test event; its delivery is in progress."""

    object: Literal["event"]
    id: str


class WebhookEventSummary(Struct):
    """An event that was sent to a webhook or is to be. attempt_count: since the last replay.
    http_status_code: of the last attempt; null without a response."""

    object: Literal["webhook_event"]
    id: str
    type: str
    created_at: Time
    status: Literal["pending", "attempting", "success", "failed"]
    attempt_count: int
    http_status_code: int | None
    error: str | None
    next_attempt_at: Time | None


class WebhookEventResponse(WebhookEventSummary):
    """payload: the body of the request; null if the event is no longer kept."""

    payload: dict[str, Any] | None


class WebhookEventReference(Struct):
    """The id of an event."""

    object: Literal["webhook_event"]
    id: str


class WebhookAttemptResponse(Struct):
    """One request to a webhook. response: the beginning of the body. error: why there was no
    response; then http_status_code is 0."""

    id: Id
    http_status_code: int
    response: str
    error: str | None
    sent_at: Time
    duration_ms: int


class WebhookRecoveryResponse(Struct):
    """Events of a time that are sent again. types: empty for all that the webhook subscribes to.
    recovered: those that were queued so far."""

    object: Literal["webhook_recovery"]
    status: Literal["in_progress", "finished"]
    since: Time
    until: Time
    types: list[str]
    recovered: int
    created_at: Time
    finished_at: Time | None
