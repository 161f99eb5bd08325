"""Settings of events."""

from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from kernel import settings as kernel_settings
from mail.reachable import parse_networks
from services.events.domain.schedule import SCHEDULE_S


class Settings(kernel_settings.Settings):
    """events: the log, lists and webhooks."""

    model_config = SettingsConfigDict(
        env_prefix="EVENTS_", extra="forbid", populate_by_name=True, validate_default=True
    )

    system_database_url: str = Field(
        "postgresql://events_system@127.0.0.1/obm",
        description="PostgreSQL URL of the role events_system",
    )
    tenant_database_url: str = Field(
        "postgresql://events_tenant@127.0.0.1/obm",
        description="PostgreSQL URL of the role events_tenant",
    )
    rpc_listen: str = Field("127.0.0.1:8033", description="Address of the RPC server, host:port")
    group: str = Field("events", description="Consumer group")
    linger_s: float = Field(0.2, description="Maximum linger of a batch of events under load")
    webhook_allowed_networks: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="Private networks that webhooks may call, also without TLS;"
        " comma-separated CIDRs",
    )
    webhook_retry_schedule_s: Annotated[list[float], NoDecode] = Field(
        default_factory=lambda: list(SCHEDULE_S),
        description="Delays before each attempt of a webhook delivery, in seconds; comma-separated",
    )
    webhook_timeout_s: float = Field(15.0, description="Timeout of a webhook attempt")
    webhook_concurrency: int = Field(
        10, description="Maximum simultaneous attempts per webhook endpoint"
    )
    webhook_probe_interval_s: float = Field(
        60.0, description="Interval between probes of a failing webhook endpoint"
    )
    webhook_poll_interval_s: float = Field(
        1.0, description="Interval between searches for due webhook deliveries"
    )
    webhook_lease_s: float = Field(
        60.0, description="Time after which another process may claim a webhook delivery"
    )
    log_retention_days: int = Field(
        30, description="Days that a day of the log is retained after its last message has closed"
    )

    @field_validator("webhook_allowed_networks", "webhook_retry_schedule_s", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return (
            [part.strip() for part in value.split(",") if part] if isinstance(value, str) else value
        )

    @field_validator("webhook_allowed_networks")
    @classmethod
    def _are_networks(cls, value: list[str]) -> list[str]:
        parse_networks(value)
        return value

    @field_validator("webhook_retry_schedule_s")
    @classmethod
    def _is_not_empty(cls, value: list[float]) -> list[float]:
        if not value:
            raise ValueError("the schedule is empty. Give at least one delay, for example 0.")
        return value
