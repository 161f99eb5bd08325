"""Everything an operator of ingest can change."""

from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from kernel.settings import Settings as SharedSettings
from mail.reachable import networks


class Settings(SharedSettings):
    """ingest: the public API."""

    model_config = SettingsConfigDict(
        env_prefix="INGEST_", extra="ignore", populate_by_name=True, validate_default=True
    )

    system_database_url: str = Field(..., description="PostgreSQL as ingest_system")
    tenant_database_url: str = Field(..., description="PostgreSQL as ingest_tenant")
    health_port: int | None = Field(None, description="of /live, /ready and /metrics")
    http_listen: str = Field("127.0.0.1:8025", description="host:port of the REST API")
    grpc_listen: str = Field("127.0.0.1:8026", description="host:port of the gRPC API")
    http_connections_max: int = Field(
        2_000, ge=1, description="connections of REST clients; others get 503"
    )
    grpc_connections_max: int = Field(
        500, ge=1, description="connections of gRPC clients; others are closed"
    )
    trusted_proxies: str = Field(
        "", description="addresses whose X-Forwarded-For is believed, comma-separated"
    )
    cors_origins: str = Field(
        "",
        description="sites whose scripts may call the REST API, comma-separated: "
        "https://app.example.net, or * for all; empty: none",
    )
    allowed_reserved_domains: str = Field(
        "", description="reserved domains that routes of yours serve, comma-separated: bench.test"
    )
    attachment_fetch: bool = Field(
        False, description="whether attachments may be given by path, an https address"
    )
    attachment_fetch_allowed_networks: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="private CIDRs that attachments may come from, also without TLS; "
        "comma-separated",
    )
    attachment_fetch_timeout_s: float = Field(
        15.0, gt=0, description="for all attachments of an email that are given by path; in seconds"
    )
    attachment_fetches_max: int = Field(
        16, ge=1, description="emails whose attachments are fetched at a time; a tenant: a quarter"
    )
    router_rpc_address: str = Field(
        "127.0.0.1:8031",
        validation_alias="ROUTER_RPC_ADDRESS",
        description="router, for states, lanes, suppressions",
    )
    delivery_rpc_address: str = Field(
        "127.0.0.1:8032",
        validation_alias="DELIVERY_RPC_ADDRESS",
        description="delivery, for what the sandbox took",
    )
    events_rpc_address: str = Field(
        "127.0.0.1:8033",
        validation_alias="EVENTS_RPC_ADDRESS",
        description="events, for lists, timelines, webhooks",
    )
    shield_rpc_address: str = Field(
        "127.0.0.1:8034", validation_alias="SHIELD_RPC_ADDRESS", description="shield, for scores"
    )

    message_lifetime_hours: int = Field(
        72, ge=1, le=240, description="of a message, from when it is due"
    )
    content_retention_margin_days: int = Field(
        2, ge=1, description="bodies outlive their messages by this"
    )
    email_retention_days: int = Field(
        30, ge=8, description="emails are kept after their last close"
    )
    idempotency_retention_hours: int = Field(
        72, ge=24, description="an Idempotency-Key is remembered"
    )
    key_rate_limit_per_s: int = Field(5_000, ge=1, description="of a key, at each replica")
    bodies_mb_max: int = Field(
        1_024,
        ge=256,
        description="MB that the bodies of requests under way have together, a quarter of it those "
        "of a tenant; others get 503, or 429",
    )
    bulk_threshold: int = Field(1_000, ge=1, description="messages of a tenant in 10 s; then bulk")
    outbox_messages_max: int = Field(
        1_000_000, ge=1, description="events that may wait for Kafka; then 503"
    )
    outbox_age_max_s: float = Field(3_600, gt=0, description="the oldest may wait; then 503")
    content_disk_free_ratio_min: float = Field(
        0.1, ge=0, lt=1, description="share of a file:// content store's disk; with less free, 503"
    )
    tenant_content_gb_max: float = Field(
        500, ge=0, description="GB of content that is kept for a tenant; then 429; 0: no limit"
    )
    outbox_check_interval_s: float = Field(5.0, gt=0, description="interval of these looks")

    audit_interval_s: float = Field(10.0, gt=0, description="interval of the audit")
    audit_open_after_s: float = Field(600, gt=0, description="open so long: reconciled")
    audit_closed_after_s: float = Field(
        600, gt=0, description="closed so long: looked up in events"
    )
    audit_repeat_after_s: float = Field(
        600, gt=0, description="until the next look at a repair, at least: it doubles each time"
    )
    audit_republished_per_s_max: float = Field(
        200, gt=0, description="messages that the audit tells again in a second, beside new mail"
    )
    shield_group: str = Field(
        "shield", validation_alias="SHIELD_GROUP", description="shield's consumer group"
    )
    events_group: str = Field(
        "events", validation_alias="EVENTS_GROUP", description="consumer group of events"
    )
    audit_batch: int = Field(500, ge=1, le=500, description="messages per question")
    directory_read_interval_s: float = Field(
        0.5, gt=0, description="between reads of changed keys, tenants and domains; in seconds"
    )
    directory_age_max_s: float = Field(
        30.0, gt=0, description="since the last such read; in seconds; then no key is let in: 503"
    )
    directory_publish_interval_s: float = Field(
        0.5, gt=0, description="between looks for changed entries"
    )
    directory_check_interval_s: float = Field(
        10.0, gt=0, description="between looks whether the broker lost the directory"
    )
    database_connections_max: int = Field(8, ge=2, description="to PostgreSQL, per role")

    @field_validator("attachment_fetch_allowed_networks", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        texts = value.split(",") if isinstance(value, str) else value
        return [part for part in texts if part] if isinstance(texts, list) else texts

    @field_validator("attachment_fetch_allowed_networks")
    @classmethod
    def _are_networks(cls, value: list[str]) -> list[str]:
        networks(value)
        return value
