"""Everything an operator can change about delivery."""

from ipaddress import ip_network
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from kernel.settings import Settings as Shared


class Settings(Shared):
    """delivery: speaks SMTP to the receivers' mail servers, and runs the sandbox."""

    model_config = SettingsConfigDict(
        env_prefix="DELIVERY_", extra="ignore", populate_by_name=True, validate_default=True
    )

    engine_database_url: str = Field(
        "postgresql://delivery_engine@127.0.0.1/obm", description="PostgreSQL, as delivery_engine"
    )
    api_database_url: str = Field(
        "postgresql://delivery_api@127.0.0.1/obm", description="PostgreSQL, as delivery_api"
    )
    rpc_listen: str = Field("127.0.0.1:8032", description="host:port of the internal RPC")
    sandbox_listen: str = Field(
        "127.0.0.1:8027", description="host:port of the sandbox mail server; empty: none here"
    )
    health_port: int | None = Field(None, description="of /live, /ready and /metrics")
    relay_allow: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="private networks that may be dialled, comma-separated CIDRs: one's own relays",
    )
    nameservers: Annotated[list[str], NoDecode] = Field(
        default_factory=list, description="IPs, comma-separated; empty: those of the machine"
    )
    gather_s: float = Field(0.15, ge=0, description="assignments are gathered so long, under load")
    connections_max: int = Field(20, ge=1, description="at once, per egress and site")
    messages_per_connection_max: int = Field(500, ge=1, description="then it is closed")
    connections_total_max: int = Field(
        0, ge=0, description="at once, of this process; 0: what its limit of open files allows"
    )
    opening_s: float = Field(
        120.0, gt=0, description="for a connection, from the first packet to the answer to EHLO"
    )
    attempt_s: float = Field(
        600.0, gt=0, description="for a message that has a connection, up to its final dot"
    )
    patience_s: float = Field(
        3.0, ge=0, description="how long messages wait for a host that lets nobody in just now"
    )
    idle_s: float = Field(15.0, description="how long a connection without work is kept")
    lease_s: float = Field(10.0, description="how long a silent worker counts as alive")
    recover_every_s: float = Field(2.0, description="between two looks for abandoned attempts")
    orphan_after_s: float = Field(
        60.0, description="past not_after: an open attempt that no memory holds is settled"
    )
    journal_kept_days: int = Field(
        45, ge=8, description="more than scheduling (30) and a message's lifetime together"
    )
    sandbox_kept_days: int = Field(7, ge=1, description="how long captured test mail is kept")
    sandbox_hang_s: float = Field(5.0, description="how long the sandbox keeps timeout@ waiting")
    drain_s: float = Field(
        60.0,
        ge=0,
        description="seconds that a stop waits for answers to dots; later ones are ambiguous",
    )
    connect_s: float = Field(30.0, description="timeout: TCP connection")
    greeting_s: float = Field(300.0, description="timeout: 220 (RFC 5321 §4.5.3.2.1)")
    ehlo_s: float = Field(300.0, description="timeout: EHLO")
    tls_s: float = Field(60.0, description="timeout: TLS handshake")
    mail_s: float = Field(300.0, description="timeout: MAIL (§4.5.3.2.2)")
    rcpt_s: float = Field(300.0, description="timeout: RCPT (§4.5.3.2.3)")
    data_s: float = Field(120.0, description="timeout: DATA (§4.5.3.2.4)")
    block_s: float = Field(180.0, description="timeout: a block of data (§4.5.3.2.5)")
    dot_s: float = Field(600.0, description="timeout: the final dot (§4.5.3.2.6)")

    @field_validator("relay_allow", "nameservers", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return [part.strip() for part in value.split(",") if part.strip()]
        return value

    @field_validator("relay_allow")
    @classmethod
    def _networks(cls, networks: list[str]) -> list[str]:
        for network in networks:
            ip_network(network)
        return networks
