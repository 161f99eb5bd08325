"""Everything an operator can change about router."""

from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from kernel.settings import Settings as Shared
from services.router.domain.retry import SCHEDULE_S

Floats = Annotated[tuple[float, ...], NoDecode]
Names = Annotated[tuple[str, ...], NoDecode]


class Settings(Shared):
    """router: from which address, to which hosts, and when a message may leave."""

    model_config = SettingsConfigDict(
        env_prefix="ROUTER_", extra="ignore", populate_by_name=True, validate_default=True
    )

    system_database_url: str = Field(
        "postgresql://router_system@127.0.0.1/obm", description="role of handlers and loops"
    )
    tenant_database_url: str = Field(
        "postgresql://router_tenant@127.0.0.1/obm", description="role of what tenants ask for"
    )
    health_port: int | None = Field(None, description="of /live, /ready, /metrics; none: no port")
    rpc_listen: str = Field("127.0.0.1:8031", description="where the other services ask router")
    delivery_rpc_address: str = Field(
        "127.0.0.1:8032", validation_alias="DELIVERY_RPC_ADDRESS", description="delivery's journal"
    )
    sandbox_address: str = Field("127.0.0.1:8027", description="where test mail goes")
    ehlo: str = Field("", description="name of egresses without one; empty: the machine's name")
    routes_file: str = Field("", description="TOML of static routes that take the place of MX")
    shaping_file: str = Field("", description="TOML of rules per site; empty: the engine's own")
    nameservers: Names = Field((), description="ip or ip:port, …; empty: the machine's")
    dns_lookups_max: int = Field(100, gt=0, description="domains asked about at a time")
    dns_timeout_s: float = Field(10.0, gt=0, description="for one question, all its tries")
    retry_schedule_s: Floats = Field(
        SCHEDULE_S, description="seconds to wait after each try, comma-separated; the last repeats"
    )
    greylisted_retry_s: float = Field(300.0, gt=0, description="to wait after a greylisting")
    greylisted_max: int = Field(
        48, ge=0, description="greylistings of a message after which they count as tries"
    )
    in_flight_max: int = Field(
        400, gt=0, description="assignments without an answer, per egress and site"
    )
    site_per_second_max: int = Field(
        0, ge=0, description="assignments per second, per egress and site; 0: no limit"
    )
    assignment_valid_s: float = Field(
        120.0, gt=0, description="an assignment that starts later is stale"
    )
    republish_after_s: float = Field(
        60.0, gt=0, description="an assignment without an answer is told again; then twice as long"
    )
    republish_backoff_max_s: float = Field(
        3600.0, gt=0, description="the longest time between two such"
    )
    republish_interval_s: float = Field(5.0, gt=0, description="how often these are looked for")
    publish_timeout_s: float = Field(
        30.0,
        gt=0,
        description="an owner that cannot publish for so long leaves its cell to another replica",
    )
    tick_messages_max: int = Field(500, gt=0, description="messages assigned in one tick")
    tick_queues_max: int = Field(1000, gt=0, description="lanes looked at in one tick")
    tick_interval_s: float = Field(
        0.15, ge=0, description="from tick to tick under load; otherwise a sixth of it"
    )
    tick_idle_interval_s: float = Field(
        1.0, gt=0, description="from tick to tick while there is none"
    )
    expire_interval_s: float = Field(
        1.0, gt=0, description="how often what is out of time is closed"
    )
    # A batch of these wakes the owner. Longer than the gap between ticks: then none of them waits.
    screened_linger_s: float = Field(
        0.2, ge=0, description="under load, screened messages are gathered so long"
    )
    attempted_linger_s: float = Field(
        0.2, ge=0, description="under load, answers are gathered so long"
    )
    partitions_interval_s: float = Field(
        3600.0, gt=0, description="how often days are made, dropped"
    )
    days_ahead: int = Field(3, ge=1, description="partitions made in advance")
    closed_retention_days: int = Field(8, ge=8, description="after the last close of a day")

    @field_validator("retry_schedule_s", mode="before")
    @classmethod
    def _floats(cls, value: object) -> object:
        return [float(part) for part in value.split(",")] if isinstance(value, str) else value

    @field_validator("retry_schedule_s")
    @classmethod
    def _ascending(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not value or min(value) <= 0:
            raise ValueError("needs at least one wait, longer than 0 s")
        return value

    @field_validator("nameservers", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        return [part for part in value.split(",") if part] if isinstance(value, str) else value
