"""Settings of events."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Annotated

from pydantic import Field, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from kernel.settings import TlsSettings
from mail.reachable import parse_networks
from services.events.domain.certificates import ExternalAccountBinding
from services.events.domain.schedule import SCHEDULE_S

HMAC_KEY_MIN = 16  # octets
_URL_SAFE = str.maketrans("+/", "-_")


class Settings(TlsSettings):
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
        10,
        ge=1,
        description="Maximum simultaneous attempts per webhook endpoint; the processes of events"
        " divide it, and each makes one at a time at least",
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
        30,
        description="Days that a day of the log is retained after its last message has closed, "
        "unless a plan says more",
    )

    export_page_rows: int = Field(
        1_000, ge=1, le=10_000, description="Rows of an export that are read and stored at once"
    )
    export_rows_max: int = Field(
        10_000_000, ge=1, description="Maximum number of rows of an export; the oldest are left out"
    )

    notice_from: str = Field(
        "",
        description="Sender of the mail to an account when a webhook is disabled, at a domain of"
        " the tenant of the API key; empty: none is sent",
    )
    api_url: str = Field(
        "http://127.0.0.1:8025/v1",
        description="URL of the API through which events sends mail of its own",
    )
    api_key: str = Field("", repr=False, description="API key of a tenant with that domain")

    tracking_listen: str = Field(
        "",
        description="Address of the listener for tracking and unsubscribe links, host:port; empty:"
        " none",
    )
    tracking_tls_listen: str = Field(
        "", description="The same with TLS, host:port; it requires a certificate"
    )
    tracking_trusted_proxies: str = Field(
        "", description="Addresses of proxies whose X-Forwarded-For is trusted, comma-separated"
    )
    tracking_connections_max: int = Field(
        5_000, ge=1, description="Maximum number of connections per listener; further ones get 503"
    )
    tracking_spool: str = Field(
        "/var/lib/obm/tracking",
        description="Folder on a durable disk for hits that are not in the log yet; its own for"
        " each process",
    )
    tracking_spool_mb_max: int = Field(
        1_024,
        ge=1,
        description="Maximum size in MB of that folder; beyond it links lead on, and hits are lost",
    )
    tracking_linger_s: float = Field(
        1.2, ge=0, description="Age in seconds from which hits are read, to see bursts as a whole"
    )
    tracking_unknown_wait_s: float = Field(
        300.0, ge=0, description="Maximum time that hits wait until the log has their message"
    )
    tracking_machines_file: str = Field(
        "",
        description="TOML file with more rules that tell machines, such as the networks of link"
        " scanners",
    )

    acme_listen: str = Field(
        "",
        description="Address of the listener that answers the challenges of OBM_ACME_DIRECTORY,"
        " host:port: the port 80 of the hosts of links; it redirects all else to HTTPS",
    )
    acme_contact: str = Field(
        "", description="Email address for the account at OBM_ACME_DIRECTORY; empty: none"
    )
    acme_eab_key_id: str = Field(
        "",
        description="Key identifier by which OBM_ACME_DIRECTORY knows an account that you have with"
        " it (external account binding, RFC 8555 §7.3.4); empty: it needs none",
    )
    acme_eab_hmac_key: str = Field(
        "",
        repr=False,
        description="The HMAC key that belongs to EVENTS_ACME_EAB_KEY_ID, in base64url",
    )
    acme_ca_file: str = Field(
        "",
        description="File of the authorities (PEM) that may certify the server of"
        " OBM_ACME_DIRECTORY; empty: those that are trusted by default",
    )
    nameservers: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="Name servers in which CAA records are looked up before an order, ip or"
        " ip:port, comma-separated; empty: those of the host",
    )
    acme_orders_per_hour: int = Field(
        90,
        ge=1,
        description="Maximum number of orders in an hour; Let's Encrypt allows 300 in three hours",
    )

    @model_validator(mode="after")
    def _can_send_notices(self) -> "Settings":
        if self.notice_from and not self.api_key:
            raise ValueError("EVENTS_NOTICE_FROM needs EVENTS_API_KEY.")
        return self

    @model_validator(mode="after")
    def _can_have_certificates(self) -> "Settings":
        if self.acme_directory and not (self.acme_listen and self.tracking_tls_listen):
            raise ValueError(
                "OBM_ACME_DIRECTORY requires EVENTS_ACME_LISTEN, for its challenges, and"
                " EVENTS_TRACKING_TLS_LISTEN, for the certificates."
            )
        return self

    @model_validator(mode="after")
    def _can_bind_account(self) -> "Settings":
        if bool(self.acme_eab_key_id) != bool(self.acme_eab_hmac_key):
            raise ValueError(
                "EVENTS_ACME_EAB_KEY_ID and EVENTS_ACME_EAB_HMAC_KEY belong together. Set both or"
                " none."
            )
        self.account_binding()
        return self

    def account_binding(self) -> ExternalAccountBinding | None:
        """The key is in base64url, or in base64 as some authorities show it. Raises ValueError."""
        if not self.acme_eab_key_id:
            return None
        coded = self.acme_eab_hmac_key.translate(_URL_SAFE).rstrip("=")
        try:
            key = urlsafe_b64decode(coded + "=" * (-len(coded) % 4))
        except ValueError:
            key = b""
        if len(key) < HMAC_KEY_MIN or urlsafe_b64encode(key).decode().rstrip("=") != coded:
            raise ValueError(
                "EVENTS_ACME_EAB_HMAC_KEY is not a key in base64url. Copy it as the authority shows"
                " it."
            )
        return ExternalAccountBinding(self.acme_eab_key_id, key)

    @model_validator(mode="after")
    def _have_certificate(self) -> "Settings":
        if self.tracking_tls_listen and not self.tls_certificate:
            raise ValueError(
                "EVENTS_TRACKING_TLS_LISTEN requires EVENTS_TLS_CERTIFICATE and EVENTS_TLS_KEY."
            )
        return self

    def uses_tls(self, name: str) -> bool:
        return name.endswith("_tls_listen") or super().uses_tls(name)

    @field_validator(
        "webhook_allowed_networks", "webhook_retry_schedule_s", "nameservers", mode="before"
    )
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
