"""Everything an operator can change about events."""

from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from kernel import settings as kernel_settings
from mail.reachable import networks
from services.events.domain.schedule import SCHEDULE_S


class Settings(kernel_settings.Settings):
    """events: the log, lists and webhooks."""

    model_config = SettingsConfigDict(
        env_prefix="EVENTS_", extra="ignore", populate_by_name=True, validate_default=True
    )

    system_database_url: str = Field(
        "postgresql://events_system@127.0.0.1/obm", description="handlers and loops"
    )
    tenant_database_url: str = Field(
        "postgresql://events_tenant@127.0.0.1/obm", description="answers, one tenant at a time"
    )
    rpc_listen: str = Field("127.0.0.1:8033", description="for the other services")
    health_port: int | None = Field(None, description="of /live, /ready and /metrics; empty: none")
    group: str = Field("events", description="consumer group")
    linger_s: float = Field(0.2, description="log_events are gathered so long, under load")
    webhook_allowed_networks: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="private CIDRs that webhooks may call, also without TLS; comma-separated",
    )
    webhook_retry_schedule_s: Annotated[list[float], NoDecode] = Field(
        default_factory=lambda: list(SCHEDULE_S),
        description="delay before each try of a webhook, in seconds; comma-separated",
    )
    webhook_timeout_s: float = Field(15.0, description="of one try")
    webhook_concurrency: int = Field(10, description="tries at one endpoint at a time")
    webhook_probe_interval_s: float = Field(
        60.0, description="from probe to probe of a failing endpoint"
    )
    webhook_poll_interval_s: float = Field(1.0, description="how often due retries are looked for")
    webhook_lease_s: float = Field(60.0, description="after which another may take a claimed try")
    log_retention_days: int = Field(30, description="kept after the last close of a day's messages")

    @field_validator("webhook_allowed_networks", "webhook_retry_schedule_s", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return (
            [part.strip() for part in value.split(",") if part] if isinstance(value, str) else value
        )

    @field_validator("webhook_allowed_networks")
    @classmethod
    def _are_networks(cls, value: list[str]) -> list[str]:
        networks(value)
        return value

    @field_validator("webhook_retry_schedule_s")
    @classmethod
    def _named(cls, value: list[float]) -> list[float]:
        if not value:
            raise ValueError("name at least one delay, such as 0")
        return value
