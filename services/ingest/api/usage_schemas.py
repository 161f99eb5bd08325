"""The responses of /v1/usage and /v1/invoices/preview."""

from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from services.ingest.api.response_schemas import Id, Time

By = Literal["day", "tenant"]


class SpanUsage(Struct):
    """Messages. used: accepted, which a quota counts. sent: which are billed;
    sent_of_earlier_months: those of them that are corrections of months that were closed."""

    used: int
    limit: int | None
    sent: int
    received: int
    resets_at: Time
    sent_of_earlier_months: int


class EmailUsage(Struct):
    """daily: of the current day; null in another month."""

    daily: SpanUsage | None
    monthly: SpanUsage


class PeakUsage(Struct):
    """used: the most on a day of the month."""

    used: int
    limit: int | None


class RateLimitUsage(Struct):
    """Requests of an API key."""

    limit: int
    duration: str


class UsagePart(Struct):
    """Of a day, or of a tenant. domains, mailboxes: of a day of an account."""

    accepted: int
    sent: int
    day: str | UnsetType = UNSET
    tenant_id: Id | UnsetType = UNSET
    domains: int | UnsetType = UNSET
    mailboxes: int | UnsetType = UNSET


class UsageResponse(Struct):
    """What was used in a month, in UTC. Test mail is not counted. breakdown: only with `by`."""

    object: Literal["usage"]
    period: str
    plan: str | None
    emails: EmailUsage
    domains: PeakUsage
    mailboxes: PeakUsage
    rate_limit: RateLimitUsage
    breakdown: list[UsagePart] | UnsetType = UNSET


class InvoiceLine(Struct):
    """amount is billed / per * unit_amount, rounded to two places. evidence: the path of the API
    that shows the quantity."""

    item: Literal["plan", "sends", "domains", "mailboxes", "corrections"]
    description: str
    quantity: int
    included: int
    billed: int
    per: int
    unit_amount: str
    amount: str
    evidence: str | None


class InvoicePreview(Struct):
    """What a month costs by now. open: it may still change. Without a plan, there are no lines.
    total: the sum of the lines."""

    object: Literal["invoice_preview"]
    account_id: Id
    period: str
    status: Literal["open", "closed"]
    plan: str | None
    currency: str
    lines: list[InvoiceLine]
    total: str
