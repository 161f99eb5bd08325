"""Settings of delivery."""

from collections.abc import Sequence
from ipaddress import ip_network
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from kernel.settings import TlsSettings
from kernel.socks5.messages import check_token
from mail.address import AddressError, canonical, parse_mailbox
from mail.feedback_id import SENDER


class Settings(TlsSettings):
    """delivery: sends mail by SMTP, and runs the sandbox."""

    model_config = SettingsConfigDict(
        env_prefix="DELIVERY_", extra="forbid", populate_by_name=True, validate_default=True
    )

    system_database_url: str = Field(
        "postgresql://delivery_system@127.0.0.1/obm",
        description="PostgreSQL URL of the role delivery_system",
    )
    tenant_database_url: str = Field(
        "postgresql://delivery_tenant@127.0.0.1/obm",
        description="PostgreSQL URL of the role delivery_tenant",
    )
    rpc_listen: str = Field("127.0.0.1:8032", description="Address of the RPC server, host:port")
    sandbox_listen: str = Field(
        "127.0.0.1:8027",
        description="host:port of the sandbox SMTP server; empty disables it in this process",
    )
    return_path_listen: str = Field(
        "",
        description="host:port of the SMTP server for mail that comes back, usually port 25, with"
        " STARTTLS if there is a certificate; empty disables it in this process",
    )
    return_path_hostname: str = Field(
        "localhost", description="Name of that server in its greeting: the host of OBM_BOUNCE_MX"
    )
    return_path_connections_max: int = Field(
        100, ge=1, description="Maximum number of its connections; further ones get 421"
    )
    return_path_client_connections_max: int = Field(
        20, ge=1, description="Maximum number of its connections from an address"
    )
    return_path_proxies: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="CIDR ranges of balancers that begin these connections with the PROXY protocol,"
        " comma-separated",
    )
    feedback_addresses: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="Addresses to which feedback loops send complaints, comma-separated",
    )
    feedback_sender_id: str = Field(
        "",
        pattern=rf"^(?:{SENDER.pattern})?$",
        description="Your identifier at the end of Feedback-ID, 5 to 15 characters; empty: a digest"
        " of the first secret key",
    )
    operator_mail_to: str = Field(
        "",
        description="Address to which mail to postmaster and abuse at the hosts of return paths is"
        " forwarded; empty: abuse is refused, and mail to postmaster is counted and dropped",
    )
    operator_mail_from: str = Field(
        "", description="Sender of what is forwarded, at a domain of the tenant of the API key"
    )
    operator_mail_per_hour_max: int = Field(
        100, ge=1, description="Maximum number of mails that a process forwards per hour"
    )
    relay_allowed_networks: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="Private networks that delivery may connect to, for your own relays;"
        " comma-separated CIDRs",
    )
    nameservers: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="Name servers, comma-separated: ip or ip:port; empty uses those of the system",
    )
    dnssec_nameservers: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="Validating resolvers for DANE, comma-separated: ip or ip:port on loopback, or"
        " tls://ip#name; empty disables DANE",
    )
    mta_sts: bool = Field(
        True, description="Whether MTA-STS policies of recipient domains are looked up and enforced"
    )
    tls_report_from: str = Field(
        "", description="Sender of daily TLS reports (RFC 8460) to recipient domains; empty: none"
    )
    tls_report_organization: str = Field(
        "", description="Organization that TLS reports name; empty: the domain of their sender"
    )
    api_url: str = Field(
        "http://127.0.0.1:8025/v1",
        description="URL of the API through which delivery sends mail of its own",
    )
    api_key: str = Field(
        "",
        repr=False,
        description="API key of a tenant with the domains of its senders; without it, TLS reports"
        " are sent over HTTPS only",
    )
    linger_s: float = Field(
        0.15, ge=0, description="Maximum linger of a batch of assignments under load"
    )
    smtp_connections_max: int = Field(
        20, ge=1, description="Maximum simultaneous connections per egress source and site"
    )
    smtp_messages_per_connection_max: int = Field(
        500, ge=1, description="Maximum messages per connection; then it is closed"
    )
    smtp_connections_total_max: int = Field(
        0,
        ge=0,
        description="Maximum simultaneous connections of this process;"
        " 0 uses its limit of open files",
    )
    smtp_session_open_timeout_s: float = Field(
        120.0,
        gt=0,
        description="Timeout for opening a connection, from the first packet to the reply to EHLO",
    )
    attempt_timeout_s: float = Field(
        600.0,
        gt=0,
        description="Timeout for a message, from getting a connection to end of data",
    )
    connection_wait_max_s: float = Field(
        3.0,
        ge=0,
        description="Maximum time that messages wait for a host that accepts no more connections",
    )
    egress_tokens: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        validation_alias="OBM_EGRESS_TOKENS",
        repr=False,
        description="Comma-separated secrets of the egress hosts, of which delivery uses the first",
    )
    egress_host_tls: bool = Field(
        True, description="Whether egress hosts are connected to with TLS; they get the token"
    )
    egress_host_ca: str = Field(
        "",
        description="File of the authorities (PEM) that issue the certificates of egress hosts;"
        " empty: those of the system",
    )
    egress_host_timeout_s: float = Field(
        10.0, gt=0, description="Timeout for a login to an egress host, with TLS"
    )
    smtp_idle_timeout_s: float = Field(
        15.0, description="Time after which an idle connection is closed"
    )
    worker_lease_s: float = Field(
        10.0, description="Time after which a worker that does not renew its lease has expired"
    )
    recovery_interval_s: float = Field(2.0, description="Interval between searches for orphans")
    orphan_after_s: float = Field(
        60.0, description="Time after not_after at which an orphaned attempt is finished"
    )
    journal_retention_days: int = Field(
        45,
        ge=8,
        description="Days that the journal is retained; must exceed the 30 days of scheduling plus"
        " the lifetime of a message",
    )
    sandbox_retention_days: int = Field(
        7, ge=1, description="Days that captured test mail is retained"
    )
    sandbox_reply_delay_s: float = Field(
        5.0, description="Time that the sandbox lets timeout@ wait before it disconnects"
    )
    shutdown_timeout_s: float = Field(
        60.0,
        ge=0,
        description="Maximum time that a stop waits for replies to end of data;"
        " later ones are ambiguous",
    )
    smtp_connect_timeout_s: float = Field(30.0, description="Timeout for the TCP connection")
    smtp_greeting_timeout_s: float = Field(
        300.0, description="Timeout for the greeting (RFC 5321 §4.5.3.2.1)"
    )
    smtp_ehlo_timeout_s: float = Field(300.0, description="Timeout for the reply to EHLO")
    smtp_tls_timeout_s: float = Field(60.0, description="Timeout for the TLS handshake")
    smtp_mail_timeout_s: float = Field(
        300.0, description="Timeout for the reply to MAIL (RFC 5321 §4.5.3.2.2)"
    )
    smtp_rcpt_timeout_s: float = Field(
        300.0, description="Timeout for the reply to RCPT (RFC 5321 §4.5.3.2.3)"
    )
    smtp_data_init_timeout_s: float = Field(
        120.0, description="Timeout for the reply to DATA (RFC 5321 §4.5.3.2.4)"
    )
    smtp_data_xfer_timeout_s: float = Field(
        180.0, description="Timeout for writing a block of data (RFC 5321 §4.5.3.2.5)"
    )
    smtp_data_done_timeout_s: float = Field(
        600.0, description="Timeout for the reply to end of data (RFC 5321 §4.5.3.2.6)"
    )

    @property
    def missing(self) -> Sequence[str]:
        """Mail to postmaster is accepted (RFC 5321 §4.5.1), and without the setting dropped."""
        unread = self.return_path_listen and not self.operator_mail_to
        return ["DELIVERY_OPERATOR_MAIL_TO"] if unread else []

    def uses_tls(self, name: str) -> bool:
        """An MX takes mail from strangers, with TLS if they can."""
        return name == "return_path_listen" or super().uses_tls(name)

    @field_validator("operator_mail_to", "operator_mail_from")
    @classmethod
    def _address(cls, address: str) -> str:
        return _comparable(address) if address else ""

    @model_validator(mode="after")
    def _forwarding(self) -> Self:
        if self.operator_mail_to and not (self.operator_mail_from and self.api_key):
            raise ValueError(
                "DELIVERY_OPERATOR_MAIL_TO needs DELIVERY_OPERATOR_MAIL_FROM and DELIVERY_API_KEY"
            )
        if self.operator_mail_to.endswith(f"@{self.return_path_hostname.lower()}"):
            raise ValueError("DELIVERY_OPERATOR_MAIL_TO leads back to this server")
        return self

    @field_validator("egress_tokens")
    @classmethod
    def _tokens(cls, tokens: list[str]) -> list[str]:
        for one in tokens:
            check_token(one)
        return tokens

    @field_validator("feedback_addresses")
    @classmethod
    def _addresses(cls, addresses: list[str]) -> list[str]:
        return [_comparable(one) for one in addresses]

    @field_validator(
        "relay_allowed_networks",
        "nameservers",
        "dnssec_nameservers",
        "feedback_addresses",
        "return_path_proxies",
        "egress_tokens",
        mode="before",
    )
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return [part.strip() for part in value.split(",") if part.strip()]
        return value

    @field_validator("relay_allowed_networks", "return_path_proxies")
    @classmethod
    def _networks(cls, networks: list[str]) -> list[str]:
        for network in networks:
            ip_network(network)
        return networks


def _comparable(address: str) -> str:
    """An address as that of a recipient is compared with. Raises ValueError."""
    try:
        return canonical(parse_mailbox(address)).address.lower()
    except AddressError as error:
        raise ValueError(f"{address} is no address: {error}") from error
