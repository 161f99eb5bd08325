"""Settings of shield."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from kernel.settings import BlocklistSettings, split_commas
from kernel.settings import Settings as Shared


class Settings(Shared, BlocklistSettings):
    """shield screens every message: pass, hold or block."""

    model_config = SettingsConfigDict(
        env_prefix="SHIELD_", extra="forbid", populate_by_name=True, validate_default=True
    )

    system_database_url: str = Field(
        "postgresql://shield_system@127.0.0.1/obm",
        description="PostgreSQL URL of the role shield_system",
    )
    tenant_database_url: str = Field(
        "postgresql://shield_tenant@127.0.0.1/obm",
        description="PostgreSQL URL of the role shield_tenant",
    )
    group: str = Field("shield", description="Consumer group")
    linger_s: float = Field(
        0.15, ge=0, description="Maximum linger of a batch of accepted messages under load"
    )
    rpc_listen: str = Field("127.0.0.1:8034", description="Address of the RPC server, host:port")
    rules_file: Path = Field(
        Path(__file__).with_name("rules.toml"),
        description="File with the rules and the default thresholds",
    )
    model_file: Path = Field(
        Path(__file__).with_name("shield.model"),
        description="File with the model that weighs the rules, the text and the structure",
    )
    shadow_model_file: Path | None = Field(
        None,
        description="File with a second model that scores beside the live one and decides nothing",
    )
    shadow_share: float = Field(
        1.0,
        ge=0,
        le=1,
        description="Share of the contents that the second model scores, or without one the version"
        " of what was learned that is not used yet",
    )
    hold_score: float = Field(
        0.0,
        ge=0,
        description="Score from which a message is held for review; 0 uses the threshold of "
        "the rules",
    )
    block_score: float = Field(
        0.0,
        ge=0,
        description="Score from which a message is blocked; 0 uses the threshold of the rules",
    )
    tenant_wait_max_s: float = Field(
        60.0,
        ge=0,
        description="Maximum time in seconds after acceptance that a message waits for its "
        "tenant's record",
    )
    link_listing_wait_s: float = Field(
        0.2,
        ge=0,
        description="Maximum time that mail waits for lookups of its links in block lists",
    )
    nameservers: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="Name servers, ip or ip:port, comma-separated; empty: those of the host"
    )
    dns_timeout_s: float = Field(
        5.0, gt=0, description="Timeout of one DNS query, including its retries"
    )
    learning: Literal["off", "shadow", "on"] = Field(
        "shadow",
        description="What becomes of mail teaches shield: no; campaigns are judged, but nothing"
        " follows; or bad ones are held, and unknown ones are paced",
    )
    campaign_copies_min: int = Field(
        10, ge=2, description="Number of near-identical messages of a tenant that are a campaign"
    )
    campaign_limited_from: int = Field(
        100,
        ge=0,
        description="Number of messages of a campaign that leave without regard to its allowance",
    )
    campaign_allowance: int = Field(
        2000,
        ge=1,
        validation_alias="OBM_CAMPAIGN_ALLOWANCE",
        description="Number of messages of a campaign that leave before it is judged",
    )
    campaign_wait_s: float = Field(
        4 * 3600.0,
        gt=0,
        description="Time in seconds that a campaign waits for complaints, from when half of its"
        " allowance is used, before it has more",
    )
    learned_shadow_s: float = Field(
        86_400.0,
        ge=0,
        description="Time in seconds that a version of what was learned scores beside the live one"
        " before it is used",
    )
    message_cpu_s: float = Field(
        2.0,
        gt=0,
        description="Maximum CPU time in seconds to read one message; beyond it the message "
        "is held",
    )
    message_memory_mib: int = Field(
        512,
        ge=16,
        description="Maximum memory in MiB to read one message; beyond it the message is held",
    )

    @field_validator("nameservers", mode="before")
    @classmethod
    def _names(cls, value: object) -> object:
        return split_commas(value) if isinstance(value, str) else value
