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

    system_database_url: str = Field(
        "postgresql://delivery_system@127.0.0.1/obm", description="PostgreSQL, as delivery_system"
    )
    tenant_database_url: str = Field(
        "postgresql://delivery_tenant@127.0.0.1/obm", description="PostgreSQL, as delivery_tenant"
    )
    rpc_listen: str = Field("127.0.0.1:8032", description="host:port of the internal RPC")
    sandbox_listen: str = Field(
        "127.0.0.1:8027", description="host:port of the sandbox mail server; empty: none here"
    )
    health_port: int | None = Field(None, description="of /live, /ready and /metrics")
    relay_allowed_networks: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="private networks that may be dialed, comma-separated CIDRs: one's own relays",
    )
    nameservers: Annotated[list[str], NoDecode] = Field(
        default_factory=list, description="IPs, comma-separated; empty: those of the machine"
    )
    linger_s: float = Field(0.15, ge=0, description="assignments are gathered so long, under load")
    smtp_connections_max: int = Field(20, ge=1, description="at once, per egress and site")
    smtp_messages_per_connection_max: int = Field(500, ge=1, description="then it is closed")
    smtp_connections_total_max: int = Field(
        0, ge=0, description="at once, of this process; 0: what its limit of open files allows"
    )
    smtp_session_open_timeout_s: float = Field(
        120.0, gt=0, description="for a connection, from the first packet to the answer to EHLO"
    )
    attempt_timeout_s: float = Field(
        600.0, gt=0, description="for a message that has a connection, up to end of data"
    )
    connection_wait_max_s: float = Field(
        3.0, ge=0, description="how long messages wait for a host that lets nobody in just now"
    )
    smtp_idle_timeout_s: float = Field(
        15.0, description="how long a connection without work is kept"
    )
    worker_lease_s: float = Field(10.0, description="how long a silent worker counts as alive")
    recovery_interval_s: float = Field(2.0, description="between two looks for abandoned attempts")
    orphan_after_s: float = Field(
        60.0, description="past not_after: an open attempt that no memory holds is settled"
    )
    journal_retention_days: int = Field(
        45, ge=8, description="more than scheduling (30) and a message's lifetime together"
    )
    sandbox_retention_days: int = Field(7, ge=1, description="how long captured test mail is kept")
    sandbox_reply_delay_s: float = Field(
        5.0, description="how long the sandbox keeps timeout@ waiting"
    )
    shutdown_timeout_s: float = Field(
        60.0,
        ge=0,
        description="seconds that a stop waits for answers to dots; later ones are ambiguous",
    )
    smtp_connect_timeout_s: float = Field(30.0, description="timeout: TCP connection")
    smtp_greeting_timeout_s: float = Field(300.0, description="timeout: 220 (RFC 5321 §4.5.3.2.1)")
    smtp_ehlo_timeout_s: float = Field(300.0, description="timeout: EHLO")
    smtp_tls_timeout_s: float = Field(60.0, description="timeout: TLS handshake")
    smtp_mail_timeout_s: float = Field(300.0, description="timeout: MAIL (§4.5.3.2.2)")
    smtp_rcpt_timeout_s: float = Field(300.0, description="timeout: RCPT (§4.5.3.2.3)")
    smtp_data_init_timeout_s: float = Field(120.0, description="timeout: DATA (§4.5.3.2.4)")
    smtp_data_xfer_timeout_s: float = Field(
        180.0, description="timeout: a block of data (§4.5.3.2.5)"
    )
    smtp_data_done_timeout_s: float = Field(600.0, description="timeout: end of data (§4.5.3.2.6)")

    @field_validator("relay_allowed_networks", "nameservers", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return [part.strip() for part in value.split(",") if part.strip()]
        return value

    @field_validator("relay_allowed_networks")
    @classmethod
    def _networks(cls, networks: list[str]) -> list[str]:
        for network in networks:
            ip_network(network)
        return networks
