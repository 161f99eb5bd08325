"""The names and the response of /v1/emails/metrics. The events service defines the metrics."""

from typing import Literal

from msgspec import UNSET, Struct, UnsetType

from services.ingest.api.response_schemas import Time

Metric = Literal[
    "received", "accepted", "bytes", "held", "would_hold", "would_pass", "sent", "delivered",
    "delivered_first",
    "delivered_later", "bounced", "bounced_permanent", "bounced_transient",
    "bounced_undetermined", "bounced_async", "delivery_delayed", "deferrals", "suppressed",
    "failed", "blocked", "canceled", "complained", "unsubscribed", "opened", "unique_opened",
    "clicked", "unique_clicked", "confirmed_opened", "machine_opened", "machine_unique_opened",
    "machine_clicked", "machine_unique_clicked", "inboxed_net", "delivery_rate", "bounce_rate",
    "complaint_rate", "unsubscribe_rate", "open_rate", "click_rate",
    "time_to_first_attempt_p50_s", "time_to_first_attempt_p90_s", "time_to_first_attempt_p95_s",
    "time_to_first_attempt_p99_s", "time_to_delivery_p50_s", "time_to_delivery_p90_s",
    "time_to_delivery_p95_s", "time_to_delivery_p99_s",
]  # fmt: skip
Dimension = Literal[
    "period", "tenant", "email", "domain", "stream", "key", "site", "ip", "tag", "bounce_class",
    "recipient_domain", "pool",
]  # fmt: skip
Granularity = Literal["hourly", "daily", "weekly", "monthly"]
By = Literal["event", "sent"]


class MetricsResponse(Struct):
    """Figures. totals: by metric; null where a rate or a time is not known. data: a row for each
    combination of the dimensions, with their values (`period`, `domain_id` and `domain_name`,
    `site`, …) and its metrics; absent without dimensions."""

    object: Literal["metrics"]
    start_date: Time
    end_date: Time
    timezone: str
    by: By
    metrics: list[Metric]
    dimensions: list[Dimension]
    granularity: Granularity
    totals: dict[str, float | None]
    data: list[dict[str, str | float | None]] | UnsetType = UNSET
