"""Schemas of the REST API's responses, for its OpenAPI document."""

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, Struct, UnsetType, defstruct

Id = Annotated[str, Meta(extra_json_schema={"format": "uuid"})]
Time = Annotated[str, Meta(extra_json_schema={"format": "date-time"})]
Status = Literal[
    "queued", "scheduled", "sent", "held", "delivery_delayed", "delivered",
    "canceled", "suppressed", "failed", "bounced", "complained",
]  # fmt: skip
LastEvent = Literal[Status, "opened", "clicked"]
EventType = Literal[
    "email.sent", "email.scheduled", "email.held", "email.released", "email.delivered",
    "email.delivery_delayed", "email.bounced", "email.failed", "email.suppressed",
    "email.canceled", "email.complained", "email.opened", "email.clicked", "email.unsubscribed",
    "webhook.disabled", "webhook.test", "domain.created", "domain.updated", "domain.verified",
    "domain.failed", "domain.paused", "domain.resumed", "domain.listed", "domain.delisted",
    "domain.deleted", "suppression.added", "suppression.removed", "tenant.warned", "tenant.paused",
    "tenant.resumed", "report.ready", "usage.threshold", "key.rotated", "ip.warmup_started",
    "ip.warmup_advanced", "ip.warmup_regressed", "ip.warmup_paused", "ip.warmup_resumed",
    "ip.warmup_finished", "ip.listed", "ip.delisted", "limit.reached",
]  # fmt: skip
Queued = Literal["queued", "scheduled"]


class Fault(Struct):
    """One error in the request. pointer: its place in the body (RFC 6901)."""

    pointer: str
    code: str
    detail: str


class Problem(Struct):
    """An error (RFC 9457). `name` is for programs, `detail` for people."""

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
    """The email is accepted and durable."""

    id: Id
    object: Literal["email"]
    status: Queued


class EmailId(Struct):
    """The id of one email of a batch."""

    id: Id


class BatchError(Struct):
    """The reason why an email of a permissive batch was not accepted."""

    index: int
    message: str


class SendBatchResponse(Struct):
    """data: in the order of the request, without the emails in errors."""

    data: list[EmailId]
    errors: list[BatchError] | UnsetType = UNSET


class TagResponse(Struct):
    """A label."""

    name: str
    value: str


class Reply(Struct):
    """The last reply of the receiving server, without empty fields."""

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
    tls_policy: str | UnsetType = UNSET


class RecipientResponse(Struct):
    """One message: its state, and the reason and end of its wait."""

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


class EngagementResponse(Struct):
    """What recipients did. Hits that are certainly a machine's are counted apart."""

    opens: int
    clicks: int
    machine_opens: int
    machine_clicks: int
    first_opened_at: Time | None
    first_clicked_at: Time | None
    unsubscribed_at: Time | None


class EmailResponse(Struct, rename={"from_": "from", "list_": "list"}):
    """An email with its recipients. unavailable: services that did not respond."""

    object: Literal["email"]
    id: Id
    tenant_id: Id
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
    last_event: LastEvent
    tags: list[TagResponse]
    metadata: dict[str, str]
    stream: Literal["transactional", "broadcast"]
    list_: str | None
    test: bool
    recipients: list[RecipientResponse]
    engagement: EngagementResponse | None
    unavailable: list[str]


class EmailSummary(Struct, rename={"from_": "from"}):
    """An email in a list."""

    object: Literal["email"]
    id: Id
    tenant_id: Id
    from_: str
    to: list[str]
    subject: str
    created_at: Time | None
    scheduled_at: Time | None
    last_event: str
    tags: list[TagResponse]


class EmailReference(Struct):
    """The id of the changed email."""

    object: Literal["email"]
    id: Id


class QueueResponse(Struct):
    """A scheduled queue: its site, the number of queued messages, the limit that blocks it and the
    time when it continues. limit_scope: what that limit counts,
    such as `tenant` or `egress_site`."""

    object: Literal["queue"]
    id: str
    tenant_id: Id
    site: str
    priority: str
    next_at: Time | None
    limited_by: str | None
    limit_scope: str | None
    queued: int


class CancellationResponse(Struct):
    """The messages that waited and matched, and how many of them were canceled. `next` is the
    `after` of the next call; null: nothing is left to read."""

    object: Literal["cancellation"]
    matched: int
    canceled: int
    next: str | None


class ScoreReason(Struct):
    """A rule of shield that matched, or a trait that its model counts, with the points that the
    email would lose without it, and what to change."""

    rule: str
    score: float
    detail: str
    explanation: str
    advice: str


class ScoreResponse(Struct):
    """The verdict and score of an email, and the reasons."""

    object: Literal["score"]
    verdict: str
    score: float
    reasons: list[ScoreReason]
    hold_score: float
    block_score: float
    rules_version: str
    model_version: str


class SandboxMessage(Struct):
    """A message that the sandbox received."""

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
    """raw: the message as received over SMTP, in base64."""

    raw: Annotated[str, Meta(extra_json_schema={"contentEncoding": "base64"})]


DomainStatus = Literal[
    "not_started", "pending", "verified", "failed", "partially_verified", "partially_failed"
]
RecordStatus = Literal["not_started", "pending", "verified", "failed", "temporary_failure"]


class DomainRecord(Struct):
    """A DNS record to publish. found: the values that the last check found. problem: what is wrong
    and what to do; empty if nothing is."""

    record: Literal["DKIM", "SPF", "DMARC", "TLS-RPT", "Tracking"]
    name: str
    type: Literal["TXT", "MX", "CNAME"]
    ttl: str
    status: RecordStatus
    value: str
    required: bool
    found: list[str]
    problem: str
    priority: int | UnsetType = UNSET


class DomainSummary(Struct, kw_only=True):
    """A domain in a list. paused: its DKIM records are gone, so no live mail is accepted. shared:
    every tenant of the account can use it. vouched: an operator vouches for it."""

    object: Literal["domain"]
    id: Id
    tenant_id: Id
    name: str
    status: DomainStatus
    paused: bool
    shared: bool
    vouched: bool
    created_at: Time
    region: str
    return_path: str
    dkim_selectors: list[str]


class DomainRotation(Struct):
    """DKIM keys that are pending until DNS publishes them, or that have signed before."""

    status: Literal["pending", "retiring"]
    dkim_selectors: list[str]
    retire_at: Time | None


class TrackingCertificate(Struct):
    """Of the domain's own host for links. problem: why the last order failed. retry_at: null if it
    is not ordered again."""

    status: Literal["pending", "issued", "failed", "forbidden", "expired"]
    problem: str
    expires_at: Time | None
    retry_at: Time | None


class DomainListing(Struct):
    """A block list has the name of a domain. codes: the addresses of the answer, and what they
    mean. text: why, in the words of the list. ended_at null: it lasts."""

    blocklist: str
    name: str
    codes: list[str]
    meaning: str
    text: str | None
    found_at: Time
    ended_at: Time | None


class DomainResponse(DomainSummary, kw_only=True):
    """A domain that the tenant can send from."""

    open_tracking: bool
    click_tracking: bool
    untracked_hosts: list[str]
    tracking_mode: Literal["anonymous", "pseudonymous", "identified", "full"]
    tracking_subdomain: str | None
    tracking_certificate: TrackingCertificate | None
    tls: str
    checked_at: Time | None
    next_check_at: Time | None
    rotation: DomainRotation | None
    listings: list[DomainListing]
    records: list[DomainRecord]


class DomainReference(Struct):
    """The id of a domain."""

    object: Literal["domain"]
    id: Id


class DeleteResponse(Struct):
    """The id of the deleted object."""

    object: str
    id: Id
    deleted: bool


def list_of(kind: type) -> type:
    """has_more: true if the list continues after its last id."""
    name = kind.__name__.removesuffix("Response")
    fields: list[Any] = [("object", Literal["list"]), ("has_more", bool), ("data", list[kind])]  # type: ignore[valid-type]
    return defstruct(f"{name}List", fields)
