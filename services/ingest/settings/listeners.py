"""Settings of the listeners for clients."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from kernel.settings import TlsSettings
from mail.reachable import parse_networks

TLS_LISTENS = ("http_tls_listen", "grpc_tls_listen", "submission_listen", "submission_tls_listen")


class ListenerSettings(TlsSettings):
    """The REST and gRPC APIs, and submission by SMTP."""

    model_config = SettingsConfigDict(
        env_prefix="INGEST_", extra="forbid", populate_by_name=True, validate_default=True
    )

    http_listen: str = Field("127.0.0.1:8025", description="Address of the REST API, host:port")
    grpc_listen: str = Field("127.0.0.1:8026", description="Address of the gRPC API, host:port")
    http_tls_listen: str = Field(
        "", description="Address of the REST API with TLS, host:port; it requires a certificate"
    )
    grpc_tls_listen: str = Field(
        "", description="Address of the gRPC API with TLS, host:port; it requires a certificate"
    )
    tls_version_min: Literal["1.2", "1.3"] = Field(
        "1.3",
        validation_alias="OBM_TLS_VERSION_MIN",
        description="Minimum version of TLS for the REST and gRPC APIs: 1.2 or 1.3",
    )
    http_connections_max: int = Field(
        2_000, ge=1, description="Maximum number of REST connections; further ones get 503"
    )
    grpc_connections_max: int = Field(
        500, ge=1, description="Maximum number of gRPC connections; further ones are closed"
    )
    submission_listen: str = Field(
        "",
        description="Address of SMTP submission with STARTTLS, host:port, usually port 587; it "
        "requires a certificate",
    )
    submission_tls_listen: str = Field(
        "", description="Address of SMTP submission with implicit TLS, host:port, usually port 465"
    )
    submission_hostname: str = Field(
        "localhost",
        description="Name of the SMTP server in its greeting; with several brands, until the client"
        " names a host in TLS or logs in",
    )
    submission_public_port: int = Field(
        0,
        ge=0,
        le=65_535,
        description="Port with STARTTLS that users of mailboxes are told; 0: that of the address",
    )
    submission_tls_public_port: int = Field(
        0,
        ge=0,
        le=65_535,
        description="Port with implicit TLS that users of mailboxes are told; 0: that of the "
        "address",
    )
    submission_proxies: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        description="CIDR ranges of balancers that begin SMTP connections with the PROXY protocol, "
        "comma-separated",
    )
    submission_message_mb_max: int = Field(
        40, ge=1, le=100, description="Maximum size in MB of a message by SMTP"
    )
    submission_connections_max: int = Field(
        1_000, ge=1, description="Maximum number of SMTP connections; further ones get 421"
    )
    submission_client_connections_max: int = Field(
        100, ge=1, description="Maximum number of SMTP connections from an address"
    )
    trusted_proxies: str = Field(
        "", description="Addresses of proxies whose X-Forwarded-For is trusted, comma-separated"
    )

    def uses_tls(self, name: str) -> bool:
        return name.startswith("submission_") or name.endswith("_tls_listen")

    @model_validator(mode="after")
    def _have_certificate(self) -> "ListenerSettings":
        for name in TLS_LISTENS:
            if getattr(self, name) and not self.tls_certificate:
                raise ValueError(
                    f"INGEST_{name.upper()} requires INGEST_TLS_CERTIFICATE and INGEST_TLS_KEY."
                )
        return self

    @field_validator("submission_proxies", mode="before")
    @classmethod
    def _split_proxies(cls, value: object) -> object:
        texts = value.split(",") if isinstance(value, str) else value
        return [part for part in texts if part] if isinstance(texts, list) else texts

    @field_validator("submission_proxies")
    @classmethod
    def _are_proxies(cls, value: list[str]) -> list[str]:
        parse_networks(value)
        return value
