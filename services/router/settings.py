"""Everything an operator can change about router."""

from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from kernel.settings import BlocklistSettings
from kernel.settings import Settings as Shared
from services.router.domain.listings import SUSPENDING_WEIGHT
from services.router.domain.retry import SCHEDULE_S

Floats = Annotated[tuple[float, ...], NoDecode]
Names = Annotated[tuple[str, ...], NoDecode]


class Settings(Shared, BlocklistSettings):
    """router: from which address, to which hosts, and when a message may leave."""

    model_config = SettingsConfigDict(
        env_prefix="ROUTER_", extra="forbid", populate_by_name=True, validate_default=True
    )

    system_database_url: str = Field(
        "postgresql://router_system@127.0.0.1/obm",
        description="PostgreSQL URL of the role router_system",
    )
    tenant_database_url: str = Field(
        "postgresql://router_tenant@127.0.0.1/obm",
        description="PostgreSQL URL of the role router_tenant",
    )
    rpc_listen: str = Field("127.0.0.1:8031", description="Address of the RPC server, host:port")
    delivery_rpc_address: str = Field(
        "127.0.0.1:8032",
        validation_alias="DELIVERY_RPC_ADDRESS",
        description="Address of delivery's RPC server, host:port",
    )
    sandbox_address: str = Field(
        "127.0.0.1:8027", description="SMTP address of the sandbox, which receives test mail"
    )
    ehlo: str = Field(
        "", description="EHLO name of egress sources without one; empty: the host's name"
    )
    routes_file: str = Field(
        "", description="TOML file of static routes, which replace MX lookups; empty: none"
    )
    campaign_allowance: int = Field(
        2000,
        ge=1,
        validation_alias="OBM_CAMPAIGN_ALLOWANCE",
        description="Number of messages of a campaign that leave before it is judged",
    )
    shaping_file: str = Field(
        "", description="TOML file of shaping rules that change the engine's; empty: none"
    )
    warmup_ramp: str = Field(
        "default", description="Ramp of a warmup that is started without naming one"
    )
    ramps_file: str = Field(
        "", description="TOML file of warmup ramps beside the engine's; empty: none"
    )
    feedback_file: str = Field(
        "", description="TOML file of feedback rules that replace the engine's; empty: none"
    )
    reputation_policy: Literal["none", "standard", "strict"] = Field(
        "standard",
        description="When a tenant is paused for its bounces or complaints: never, at the"
        " thresholds of a pause, or at those of a warning",
    )
    source_checks: Literal["off", "warn", "require"] = Field(
        "warn",
        description="DNS checks of egress sources: none; show problems; or also send nothing from a"
        " source before it has passed them once",
    )
    source_check_interval_s: float = Field(
        3600.0, gt=0, le=43_200, description="Interval between DNS checks of an egress source"
    )
    egress_host_check_interval_s: float = Field(
        10.0, gt=0, description="Interval between checks of the egress hosts, which delivery makes"
    )
    spf_domain: str = Field(
        "",
        description="Domain whose SPF record must list the egress sources: the one that customers"
        " include; empty: no check",
    )
    dnsbl_interval_s: float = Field(
        900.0, gt=0, le=21_600, description="Interval between lookups of a source in block lists"
    )
    dnsbl_test_interval_s: float = Field(
        3600.0, gt=0, description="Interval between self-tests of a block list"
    )
    dnsbl_weight_min: float = Field(
        SUSPENDING_WEIGHT,
        gt=0,
        description="Weight of a listing with which a source sends nothing; lighter ones are only"
        " shown",
    )
    nameservers: Names = Field(
        (), description="Name servers, ip or ip:port, comma-separated; empty: those of the host"
    )
    dns_lookups_max: int = Field(
        100, gt=0, description="Maximum domains looked up at the same time"
    )
    dns_timeout_s: float = Field(
        10.0, gt=0, description="Timeout of one DNS query, including its retries"
    )
    retry_schedule_s: Floats = Field(
        SCHEDULE_S,
        description="Delays after the first, second, … attempt, comma-separated; the last repeats",
    )
    greylisted_retry_s: float = Field(
        300.0, gt=0, description="Delay of the retry after a greylisted attempt"
    )
    greylisted_max: int = Field(
        48, ge=0, description="Maximum greylisted attempts that do not use up the retry schedule"
    )
    in_flight_max: int = Field(
        400,
        gt=0,
        description="Maximum assignments without an attempt result, per egress source and site",
    )
    site_per_second_max: int = Field(
        0,
        ge=0,
        description="Maximum assignments per second, per egress source and site; 0: no limit",
    )
    assignment_valid_s: float = Field(
        120.0, gt=0, description="Time in which an assigned attempt must start; later it is stale"
    )
    republish_after_s: float = Field(
        60.0,
        gt=0,
        description="Delay before an assignment without a result is published again; it doubles",
    )
    republish_backoff_max_s: float = Field(
        3600.0, gt=0, description="Maximum delay before such an assignment is published again"
    )
    republish_interval_s: float = Field(
        5.0, gt=0, description="Interval between searches for such assignments"
    )
    publish_timeout_s: float = Field(
        30.0,
        gt=0,
        description="Time after which a scheduler that cannot publish yields to another replica",
    )
    tick_messages_max: int = Field(500, gt=0, description="Maximum messages assigned in one tick")
    tick_queues_max: int = Field(1000, gt=0, description="Maximum queues read in one tick")
    tick_target_s: float = Field(
        0.03, gt=0, description="Time that a tick should take; a slower one assigns fewer messages"
    )
    tick_interval_s: float = Field(
        0.15, ge=0, description="Interval between ticks under load; a sixth of it under low load"
    )
    tick_idle_interval_s: float = Field(
        1.0, gt=0, description="Maximum interval between ticks without work"
    )
    expire_interval_s: float = Field(
        1.0, gt=0, description="Interval between searches for expired messages"
    )
    # A batch wakes the scheduler. It lingers longer than the interval between ticks, so that the
    # scheduler never has to wait for the end of a tick.
    screened_linger_s: float = Field(
        0.2, ge=0, description="Maximum linger of a batch of screened messages under load"
    )
    attempted_linger_s: float = Field(
        0.2, ge=0, description="Maximum linger of a batch of attempt results under load"
    )
    partitions_interval_s: float = Field(
        3600.0, gt=0, description="Interval between runs that drop day partitions"
    )
    closed_retention_days: int = Field(
        8,
        ge=8,
        description="Days that a day partition is retained after its last message has closed",
    )

    @field_validator("retry_schedule_s", mode="before")
    @classmethod
    def _floats(cls, value: object) -> object:
        return [float(part) for part in value.split(",")] if isinstance(value, str) else value

    @field_validator("retry_schedule_s")
    @classmethod
    def _ascending(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if not value or min(value) <= 0:
            raise ValueError("invalid retry schedule. Give at least one delay, each above 0 s.")
        return value

    @field_validator("nameservers", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        return [part for part in value.split(",") if part] if isinstance(value, str) else value
