"""Everything an operator can change about shield."""

from pathlib import Path

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from kernel.settings import Settings as Shared


class Settings(Shared):
    """shield reads every message before it may leave, and says pass, hold or block."""

    model_config = SettingsConfigDict(
        env_prefix="SHIELD_", extra="ignore", populate_by_name=True, validate_default=True
    )

    group: str = Field("shield", description="consumer group")
    linger_s: float = Field(0.15, ge=0, description="messages are gathered so long, under load")
    rpc_listen: str = Field("127.0.0.1:8034", description="host:port of ShieldService")
    health_port: int | None = Field(None, description="of /live, /ready and /metrics; unset: none")
    rules_file: Path = Field(
        Path(__file__).with_name("rules.toml"), description="rules, scores and default thresholds"
    )
    hold_score: float = Field(
        0.0, ge=0, description="from here a message waits for review; 0: as the rules say"
    )
    block_score: float = Field(
        0.0, ge=0, description="from here a message fails; 0: as the rules say"
    )
    tenant_wait_max_s: float = Field(
        60.0,
        ge=0,
        description="seconds after its acceptance that a message waits for its tenant's record",
    )
    message_cpu_s: float = Field(
        2.0, gt=0, description="seconds of a processor to read one message; beyond, it is held"
    )
    message_memory_mib: int = Field(
        512, ge=16, description="MiB of memory to read one message; beyond, it is held"
    )
