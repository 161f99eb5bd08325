"""Settings of ingest."""

from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import NoDecode

from kernel.settings import BlocklistSettings
from mail.reachable import parse_networks
from services.ingest.settings.listeners import ListenerSettings


class Settings(BlocklistSettings, ListenerSettings):
    """ingest: the public API."""

    system_database_url: str = Field(..., description="PostgreSQL URL of the role ingest_system")
    tenant_database_url: str = Field(..., description="PostgreSQL URL of the role ingest_tenant")
    cors_origins: str = Field(
        "",
        description="Origins whose scripts can call the REST API, comma-separated: "
        "https://app.example.net, or * for all; none if empty",
    )
    allowed_reserved_domains: str = Field(
        "",
        description="Reserved domains that this installation delivers to, comma-separated: "
        "bench.test",
    )
    attachment_fetch: bool = Field(
        False, description="Allow attachments given by path, an https URL"
    )
    attachment_fetch_allowed_networks: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="Private CIDR ranges that attachments can be fetched from, also without "
        "TLS; comma-separated",
    )
    attachment_fetch_timeout_s: float = Field(
        15.0, gt=0, description="Timeout in seconds for fetching all attachments of an email"
    )
    attachment_fetches_max: int = Field(
        16,
        ge=1,
        description="Maximum number of emails whose attachments are fetched at a time; a "
        "quarter of it per tenant",
    )
    router_rpc_address: str = Field(
        "127.0.0.1:8031",
        validation_alias="ROUTER_RPC_ADDRESS",
        description="Address of router's RPC server, host:port",
    )
    delivery_rpc_address: str = Field(
        "127.0.0.1:8032",
        validation_alias="DELIVERY_RPC_ADDRESS",
        description="Address of delivery's RPC server, host:port",
    )
    events_rpc_address: str = Field(
        "127.0.0.1:8033",
        validation_alias="EVENTS_RPC_ADDRESS",
        description="Address of the RPC server of events, host:port",
    )
    shield_rpc_address: str = Field(
        "127.0.0.1:8034",
        validation_alias="SHIELD_RPC_ADDRESS",
        description="Address of shield's RPC server, host:port",
    )

    bounce_mx: str = Field(
        "",
        validation_alias="OBM_BOUNCE_MX",
        description="Host that receives bounces, in the DNS records of domains: mx.example.com; "
        "without it the API adds no domains",
    )
    spf_include: str = Field(
        "",
        validation_alias="OBM_SPF_INCLUDE",
        description="Name whose SPF record lists the source addresses; default: _spf. before "
        "the bounce host",
    )
    nameservers: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="Name servers to find the authoritative ones, ip or ip:port, comma-separated; "
        "empty: those of the host",
    )
    dns_allowed_networks: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="Private CIDR ranges in which authoritative name servers are queried; "
        "comma-separated",
    )
    domain_listing_interval_s: float = Field(
        900.0, gt=0, description="Interval between lookups of the domains in block lists"
    )
    domain_check_interval_s: float = Field(
        2.0, gt=0, description="Interval in seconds between searches for domains due for a check"
    )
    event_streams_max: int = Field(
        1_000, ge=1, description="Maximum number of open streams of events, REST and gRPC together"
    )
    tenant_event_streams_max: int = Field(
        10, ge=1, description="Maximum number of those of a tenant, or of a whole account"
    )
    domain_checks_max: int = Field(
        20, ge=1, description="Maximum number of domains that are checked by DNS at a time"
    )
    tenant_domains_max: int = Field(
        1_000, ge=1, description="Maximum number of domains that a tenant can add by API"
    )
    tenant_mailboxes_max: int = Field(
        10_000, ge=1, description="Maximum number of mailboxes that a tenant can have"
    )
    hold_score_max: float = Field(
        5.0,
        ge=0,
        description="Highest score from which mail is held that an account may set for a tenant; "
        "0: only operators set it",
    )
    block_score_max: float = Field(
        10.0,
        ge=0,
        description="Highest score from which mail is blocked that an account may set for a "
        "tenant; 0: only operators set it",
    )
    suppression_import_interval_s: float = Field(
        1.0, gt=0, description="Interval in seconds between searches for imports of suppressions"
    )
    erasure_interval_s: float = Field(
        1.0, gt=0, description="Interval in seconds between searches for recipients to erase"
    )
    erasure_settle_s: float = Field(
        60.0,
        gt=0,
        description="Time in seconds without anything left after which an erasure is complete",
    )

    message_lifetime_hours: int = Field(
        72,
        ge=1,
        le=240,
        description="Lifetime of a message in hours, from its due time; at most 240",
    )
    content_retention_margin_days: int = Field(
        2, ge=1, description="Days that content is retained after the lifetime of its messages"
    )
    email_retention_days: int = Field(
        30,
        ge=8,
        description="Days that emails are retained after their last message has closed; at least 8",
    )
    idempotency_retention_hours: int = Field(
        72, ge=24, description="Hours that an Idempotency-Key is retained; at least 24"
    )
    key_rate_limit_per_s: int = Field(
        5_000,
        ge=1,
        description="Maximum number of requests per second of an API key; the processes of ingest"
        " divide it",
    )
    key_usage_interval_s: float = Field(
        60.0, gt=0, description="Interval in seconds between writes of when API keys were last used"
    )
    bodies_mb_max: int = Field(
        1_024,
        ge=256,
        description="Maximum memory in MB for the bodies of requests in progress, a quarter "
        "of it per tenant; further requests get 503, or 429 for the tenant",
    )
    bulk_threshold: int = Field(
        1_000,
        ge=1,
        description="Messages of a tenant within 10 s above which further ones get bulk priority",
    )
    outbox_messages_max: int = Field(
        1_000_000,
        ge=1,
        description="Maximum number of events waiting for Kafka; above it requests get 503",
    )
    outbox_age_max_s: float = Field(
        3_600,
        gt=0,
        description="Maximum age in seconds of an event waiting for Kafka; above it requests "
        "get 503",
    )
    content_disk_free_ratio_min: float = Field(
        0.1,
        ge=0,
        lt=1,
        description="Minimum free share of the disk of a file:// content store, 0 to 1; "
        "below it requests get 503",
    )
    tenant_content_gb_max: float = Field(
        500,
        ge=0,
        description="Maximum content in GB stored for a tenant; above it requests get 429; 0 "
        "disables the limit",
    )
    outbox_check_interval_s: float = Field(
        5.0,
        gt=0,
        description="Interval in seconds between checks of the outbox, the disk and the "
        "stored content",
    )

    audit_interval_s: float = Field(
        10.0, gt=0, description="Interval in seconds between audit runs"
    )
    audit_open_after_s: float = Field(
        600,
        gt=0,
        description="Seconds that a message is open before the audit reconciles it with router",
    )
    audit_closed_after_s: float = Field(
        600,
        gt=0,
        description="Seconds that a message is closed before the audit looks it up in the "
        "event log",
    )
    audit_repeat_after_s: float = Field(
        600,
        gt=0,
        description="Minimum interval in seconds between two repairs of a message; it "
        "doubles with each repair",
    )
    audit_republished_per_s_max: float = Field(
        200,
        gt=0,
        description="Maximum number of messages per second that the audit publishes again",
    )
    shield_group: str = Field(
        "shield", validation_alias="SHIELD_GROUP", description="Consumer group of shield"
    )
    events_group: str = Field(
        "events", validation_alias="EVENTS_GROUP", description="Consumer group of events"
    )
    audit_batch: int = Field(
        500, ge=1, le=500, description="Maximum number of messages per audit call, at most 500"
    )
    usage_export: Literal["", "stripe", "lago", "openmeter"] = Field(
        "", description="Billing system to which usage is exported; empty: none"
    )
    usage_export_url: str = Field("", description="Its URL; empty: that of its provider")
    usage_export_key: str = Field("", description="Its API key")
    usage_export_interval_s: float = Field(
        3600.0, gt=0, description="Interval in seconds between exports of usage"
    )
    health_check_interval_s: float = Field(
        3600.0,
        gt=0,
        description="Interval in seconds between health checks; at most 300 while one fails",
    )
    probe_metrics_url: str = Field(
        "",
        description="http://host:port/metrics of `obm probe`, whose canaries are a health check; "
        "empty: none",
    )
    directory_read_interval_s: float = Field(
        0.5,
        gt=0,
        description="Interval in seconds between reads of changed keys, tenants and domains",
    )
    directory_age_max_s: float = Field(
        30.0,
        gt=0,
        description="Maximum age in seconds of the directory in memory; above it no key is "
        "accepted (503)",
    )
    directory_publish_interval_s: float = Field(
        0.5,
        gt=0,
        description="Interval in seconds between publications of changed directory entries",
    )
    directory_check_interval_s: float = Field(
        10.0,
        gt=0,
        description="Interval in seconds between checks that Kafka still has the directory",
    )
    database_connections_max: int = Field(
        8, ge=2, description="Maximum number of PostgreSQL connections per role"
    )

    @field_validator(
        "attachment_fetch_allowed_networks",
        "nameservers",
        "dns_allowed_networks",
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        texts = value.split(",") if isinstance(value, str) else value
        return [part for part in texts if part] if isinstance(texts, list) else texts

    @field_validator("attachment_fetch_allowed_networks", "dns_allowed_networks")
    @classmethod
    def _are_networks(cls, value: list[str]) -> list[str]:
        parse_networks(value)
        return value
