"""Schemas of the responses of the REST API, for its OpenAPI document."""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, defstruct

Id = Annotated[str, Meta(extra_json_schema={"format": "uuid"})]
Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
Status = Literal[
    "queued", "scheduled", "sent", "held", "delivery_delayed", "delivered", "canceled",
    "suppressed", "failed", "bounced", "complained",
]  # fmt: skip
EventType = Literal[
    "email.sent", "email.scheduled", "email.held", "email.delivered", "email.delivery_delayed",
    "email.bounced", "email.failed", "email.suppressed", "email.canceled", "email.complained",
    "webhook.disabled", "webhook.test",
]  # fmt: skip
Queued = Literal["queued", "scheduled"]


class Fault(Struct):
    """One thing wrong. pointer: where in the body (RFC 6901)."""

    pointer: str
    code: str
    detail: str


class Problem(Struct):
    """A refusal (RFC 9457). `name` is for programs, `detail` for people."""

    type: str
    title: str
    status: int
    detail: str
    instance: str
    request_id: str
    errors: list[Fault]
    name: str
    message: str
    statusCode: int  # noqa: N815 - Resend's spelling


class SendEmailResponse(Struct):
    """Durable: it will be sent, whatever happens here."""

    id: Id
    object: Literal["email"]
    status: Queued


class EmailId(Struct):
    """Of one email of a batch."""

    id: Id


class BatchError(Struct):
    """Why an email of a permissive batch was left out."""

    index: int
    message: str


class SendBatchResponse(Struct):
    """data: in the order of the request, without those that errors names."""

    data: list[EmailId]
    errors: list[BatchError] | UnsetType = UNSET


class TagResponse(Struct):
    """A label."""

    name: str
    value: str


class Reply(Struct):
    """What the receiver's server said last; what is empty is left out."""

    code: int | UnsetType = UNSET
    enhanced: str | UnsetType = UNSET
    text: str | UnsetType = UNSET
    step: str | UnsetType = UNSET
    mx: str | UnsetType = UNSET
    remote_ip: str | UnsetType = UNSET
    local_ip: str | UnsetType = UNSET
    tls: str | UnsetType = UNSET
    tls_cipher: str | UnsetType = UNSET
    tls_certificate: str | UnsetType = UNSET
    tls_verified: bool | UnsetType = UNSET


class RecipientResponse(Struct):
    """One message: where it is, and what it waits for until when."""

    message_id: Id
    recipient: str
    type: Literal["to", "cc", "bcc"]
    state: str
    queued_reason: str | None
    due_at: Time | None
    attempt: int
    attempt_count: int
    ambiguous: bool
    reply: Reply | None
    queue_id: str | None


class EmailResponse(Struct, rename={"from_": "from"}):
    """An email with its recipients. unavailable: services that could not be asked just now."""

    object: Literal["email"]
    id: Id
    from_: str
    to: list[str]
    cc: list[str]
    bcc: list[str]
    reply_to: list[str]
    subject: str
    html: str | None
    text: str | None
    created_at: Time
    scheduled_at: Time | None
    last_event: Status
    tags: list[TagResponse]
    metadata: dict[str, str]
    stream: Literal["transactional", "broadcast"]
    test: bool
    recipients: list[RecipientResponse]
    unavailable: list[str]


class EmailSummary(Struct, rename={"from_": "from"}):
    """An email of a list."""

    object: Literal["email"]
    id: Id
    from_: str
    to: list[str]
    subject: str
    created_at: Time | None
    scheduled_at: Time | None
    last_event: str
    tags: list[TagResponse]


class EmailReference(Struct):
    """Which email was changed."""

    object: Literal["email"]
    id: Id


class ReleaseEmailResponse(Struct):
    """released: the messages that go on."""

    object: Literal["email"]
    id: Id
    released: list[Id]


class EventResponse(Struct):
    """What happened to an email, with the data of its webhook."""

    id: str
    type: str
    message_id: str
    recipient: str
    seq: int
    created_at: Time
    data: dict[str, Any]


class WebhookResponse(Struct):
    """An endpoint. signing_secret: when it is made, and when it is asked for alone."""

    object: Literal["webhook"]
    id: Id
    endpoint: str
    events: list[str]
    status: Literal["enabled", "disabled"]
    disabled_reason: str | None
    created_at: Time
    signing_secret: str | UnsetType = UNSET


class WebhookDeliveryResponse(Struct):
    """A call of an endpoint, tried once or more often."""

    event_id: str
    type: str
    state: str
    attempt_count: int
    status: int | None
    error: str | None
    due_at: Time | None


class TestEvent(Struct):
    """The event that is on its way to the endpoint."""

    object: Literal["event"]
    id: str


class SuppressionResponse(Struct):
    """An address that is not written to, and why."""

    object: Literal["suppression"]
    id: Id
    email: str
    origin: str
    source_id: str | None
    created_at: Time | None


class SuppressionReference(Struct):
    """An address that is not written to from now on, or was before."""

    object: Literal["suppression"]
    id: Id


class RemovedSuppression(SuppressionReference):
    """An address that is written to again."""

    deleted: bool


class AddSuppressionsResponse(Struct):
    """In the order of the request."""

    data: list[SuppressionReference]


class RemoveSuppressionsResponse(Struct):
    """Those that were suppressed."""

    data: list[RemovedSuppression]


class QueueResponse(Struct):
    """What waits for a site, until when, and the limit that decides that."""

    object: Literal["queue"]
    id: str
    site: str
    next_at: Time | None
    limited_by: str | None
    queued: int


class Reason(Struct):
    """A rule of the filter that applies."""

    rule: str
    score: float
    detail: str


class ScoreResponse(Struct):
    """What the filter would say."""

    object: Literal["score"]
    verdict: str
    score: float
    reasons: list[Reason]
    hold_score: float
    block_score: float
    rules_version: str


class SandboxMessage(Struct):
    """A message as the sandbox's mail server took it."""

    object: Literal["sandbox_message"]
    id: Id
    message_id: str | None
    email_id: str | None
    mail_from: str
    recipient: str
    subject: str
    bytes: int
    reply: str
    received_at: Time | None


class RawSandboxMessage(SandboxMessage):
    """raw: what came over SMTP, in base64."""

    raw: Annotated[str, Meta(extra_json_schema={"contentEncoding": "base64"})]


class DomainResponse(Struct):
    """What may be sent from."""

    object: Literal["domain"]
    id: Id
    name: str
    shared: bool
    created_at: Time
    return_path: str
    dkim_selectors: list[str]


class ApiKeyResponse(Struct):
    """A key, without its secret."""

    object: Literal["api_key"]
    id: Id
    name: str
    permission: Literal["full_access", "sending_access"] | None
    domain_id: Id | None
    cidrs: list[str]
    expires_at: Time | None
    test: bool
    created_at: Time


class CreatedApiKey(ApiKeyResponse):
    """token: the key itself, shown this once."""

    token: str


class DeleteResponse(Struct):
    """What is no longer there."""

    object: str
    id: Id
    deleted: bool


def list_of(kind: type) -> type:
    """has_more: whether `after` the last id there is more."""
    name = kind.__name__.removesuffix("Response")
    fields: list[Any] = [("object", Literal["list"]), ("has_more", bool), ("data", list[kind])]  # type: ignore[valid-type]
    return defstruct(f"{name}List", fields)
