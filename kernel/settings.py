"""Settings of all services, from environment variables; `--help` prints them with defaults."""

import sys
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, TypeVar

from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from kernel.errors import ConfigError
from kernel.kafka_settings import KafkaSettings
from kernel.rpc_tls import RpcTlsSettings
from kernel.tls import CertificateFiles

PORT_MAX = 65_535
# Listeners without TLS that others must reach, and that show no key and no mail: the health server,
# and the answers to an authority's challenges.
WITHOUT_SECRETS = frozenset(("health_listen", "acme_listen"))
Level = Annotated[
    Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"], BeforeValidator(str.upper)
]


class ProcessSettings(BaseSettings):
    """Settings shared by all processes. A class of its own sets `env_prefix`, so that its field
    `port` is `ROUTER_PORT`; a field with a validation_alias is named by that alone."""

    model_config = SettingsConfigDict(extra="forbid", populate_by_name=True, validate_default=True)

    plain_listen: bool = Field(
        False,
        validation_alias="OBM_PLAIN_LISTEN",
        description="Allow …_LISTEN addresses other than loopback; these listeners use no TLS, so "
        "keys and mail can be read on that network",
    )
    log_level: Level = Field(
        "INFO",
        validation_alias="OBM_LOG_LEVEL",
        description="Minimum log level: DEBUG, INFO, WARNING, ERROR or CRITICAL",
    )
    log_format: Literal["json", "console"] = Field(
        "json", validation_alias="OBM_LOG_FORMAT", description="Log format: json or console"
    )
    otlp_endpoint: str = Field(
        "",
        validation_alias="OTEL_EXPORTER_OTLP_ENDPOINT",
        description="OTLP endpoint for traces, http://host:4317 or, with TLS, https://…; empty "
        "disables tracing",
    )
    trace_ratio: float = Field(
        0.01,
        validation_alias="OTEL_TRACES_SAMPLER_ARG",
        description="Ratio of requests without a traceparent that are traced",
    )
    health_listen: str = Field(
        "", description="host:port of /live, /ready and /metrics; empty disables the server"
    )
    shutdown_timeout_s: float = Field(
        10.0, ge=0, description="Maximum time at shutdown to finish work in progress"
    )

    def uses_tls(self, name: str) -> bool:
        """Whether the listener of this field never speaks without TLS."""
        return False

    @model_validator(mode="after")
    def _check_listens(self) -> "ProcessSettings":
        for name, field in type(self).model_fields.items():
            address = getattr(self, name)
            if name.endswith("_listen") and isinstance(address, str) and address:
                variable = env_name(type(self), name, field)
                _check_port(variable, address)
                plain = name not in WITHOUT_SECRETS and not self.uses_tls(name)
                if plain and not self.plain_listen:
                    with_tls = name.replace("_listen", "_tls_listen")
                    _check_loopback(variable, address, has_tls=with_tls in type(self).model_fields)
        return self


class Settings(ProcessSettings, KafkaSettings, RpcTlsSettings):
    """Settings shared by all services."""

    content_store_url: str = Field(
        "file:///var/lib/obm/content",
        validation_alias="OBM_CONTENT_STORE_URL",
        description="URL of the content store: file://, s3://, gs:// or az://",
    )
    secret_keys: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        validation_alias="OBM_SECRET_KEYS",
        description="Comma-separated Fernet keys: the first encrypts, all decrypt",
    )
    brands_file: str = Field(
        "",
        validation_alias="OBM_BRANDS_FILE",
        description="TOML file of brands; empty: the engine's own names",
    )
    prices_file: str = Field(
        "",
        validation_alias="OBM_PRICES_FILE",
        description="TOML file of plans and prices; empty: the engine's own",
    )
    acme_directory: str = Field(
        "",
        validation_alias="OBM_ACME_DIRECTORY",
        description="URL of the directory of a certificate authority (ACME, RFC 8555), which issues"
        " the certificates of customers' own tracking hosts; its use is agreement with its terms",
    )
    rpc_token: str = Field(
        "",
        validation_alias="OBM_RPC_TOKEN",
        description="Shared secret that authenticates RPC between services",
    )
    lease_s: float = Field(
        10.0,
        validation_alias="OBM_LEASE_S",
        description="Duration of a lease; another replica takes over when it is not renewed",
    )
    outbox_sweep_after_s: float = Field(
        5.0,
        validation_alias="OBM_OUTBOX_SWEEP_AFTER_S",
        description="Age from which an unpublished outbox row is published again",
    )
    dead_letter_ratio_max: float = Field(
        0.1,
        description="Maximum ratio of dead letters in 1,000 records; beyond it the service stops",
    )

    @property
    def missing(self) -> Sequence[str]:
        """Names of settings without which something is lost that others rely on. The service
        works."""
        return ()

    def uses_tls(self, name: str) -> bool:
        return (name == "rpc_listen" and bool(self.rpc_tls_ca)) or super().uses_tls(name)

    @field_validator("secret_keys", mode="before")
    @classmethod
    def _split_commas(cls, value: object) -> object:
        return [part for part in value.split(",") if part] if isinstance(value, str) else value

    @field_validator("secret_keys")
    @classmethod
    def _not_empty(cls, keys: list[str]) -> list[str]:
        if not keys:
            raise ValueError("must not be empty. Generate a key with `obm generate-key`.")
        return keys


class BlocklistSettings(ProcessSettings):
    """Settings of a service that queries block lists."""

    blocklists: Annotated[list[str], NoDecode] = Field(
        default_factory=list,
        validation_alias="OBM_BLOCKLISTS",
        description="Names of the block lists to query, comma-separated; empty: those that the file"
        " enables",
    )
    blocklists_file: str = Field(
        "",
        validation_alias="OBM_BLOCKLISTS_FILE",
        description="TOML file of block lists that changes the engine's; empty: none",
    )
    blocklist_keys: Annotated[dict[str, SecretStr], NoDecode] = Field(
        default_factory=dict,
        validation_alias="OBM_BLOCKLIST_KEYS",
        description="Keys of block lists, comma-separated: name=key",
    )

    @field_validator("blocklists", mode="before")
    @classmethod
    def _split_names(cls, value: object) -> object:
        return split_commas(value) if isinstance(value, str) else value

    @field_validator("blocklist_keys", mode="before")
    @classmethod
    def _split_keys(cls, value: object) -> object:
        if not isinstance(value, str):
            return value
        pairs = [one.partition("=") for one in split_commas(value)]
        if not all(name and key for name, _, key in pairs):
            raise ValueError("give each as name=key.")
        return {name.strip(): key.strip() for name, _, key in pairs}


def split_commas(value: str) -> list[str]:
    return [part.strip() for part in value.split(",") if part.strip()]


class CertificateSettings(ProcessSettings):
    """Settings of a process whose listeners may have TLS."""

    tls_certificate: str = Field(
        "", description="File of the certificate chain (PEM); it is read again when it changes"
    )
    tls_key: str = Field("", description="File of the certificate's private key (PEM)")

    @model_validator(mode="after")
    def _check_certificate(self) -> "CertificateSettings":
        if bool(self.tls_certificate) != bool(self.tls_key):
            prefix = self.model_config.get("env_prefix", "")
            raise ValueError(f"set {prefix}TLS_CERTIFICATE and {prefix}TLS_KEY, or neither.")
        return self

    def certificate(self) -> CertificateFiles | None:
        """The files of the certificate for clients that name no other host; None: no TLS."""
        if not self.tls_certificate:
            return None
        return CertificateFiles(Path(self.tls_certificate), Path(self.tls_key))


class TlsSettings(Settings, CertificateSettings):
    """Settings of a service whose listeners may have TLS."""


def split_address(address: str) -> tuple[str, str]:
    """Host and port of `host:port` or `[ipv6]:port`; the port is empty if there is none."""
    host, colon, port = address.rpartition(":")
    return host.strip("[]"), port if colon else ""


def _check_port(variable: str, address: str) -> None:
    """address: host:port. Raises ValueError."""
    _, port = split_address(address)
    if not (port.isascii() and port.isdecimal() and int(port[:6]) <= PORT_MAX):
        raise ValueError(f"{variable} {address} names no port. Use host:port, as 127.0.0.1:8025.")


def _check_loopback(variable: str, address: str, *, has_tls: bool) -> None:
    """address: host:port. has_tls: there is such a setting with TLS. Raises ValueError."""
    host, _ = split_address(address)
    try:
        loopback = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if address and not loopback:
        tls = f"{variable.replace('_LISTEN', '_TLS_LISTEN')} with a certificate, or "
        raise ValueError(
            f"{variable} {address} is not a loopback address, and the listener uses no TLS. Use "
            f"{tls if has_tls else ''}127.0.0.1 behind a TLS proxy, or set OBM_PLAIN_LISTEN=true "
            "on a trusted network."
        )


S = TypeVar("S", bound=ProcessSettings)


def read_settings(settings: type[S], argv: list[str] | None = None) -> S:
    """Read the settings from the environment; with --help print them and exit. Raises
    ConfigError."""
    argv = sys.argv[1:] if argv is None else argv
    if "--help" in argv or "-h" in argv:
        sys.stdout.write(settings_help(settings))
        raise SystemExit(0)
    if argv:
        raise ConfigError(
            f"Unknown argument {argv[0]!r}. Settings are environment variables, see --help."
        )
    try:
        return settings()
    except ValidationError as error:
        first = error.errors()[0]
        name = str(first["loc"][0]) if first["loc"] else ""
        field = settings.model_fields.get(name)
        variable = env_name(settings, name, field) if field else name
        problem = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{variable}: {problem}".strip(": ")) from error


def settings_help(settings: type[ProcessSettings]) -> str:
    """The text of --help: name, default and description of each setting."""
    lines = [f"{(settings.__doc__ or '').strip()}\n", "Settings, from the environment:\n"]
    for name, field in settings.model_fields.items():
        variable = env_name(settings, name, field)
        value = field.get_default(call_default_factory=True)
        unit = " s" if name.endswith("_s") else ""
        default = "" if field.is_required() else f" [{value}{unit}]"
        lines.append(f"  {variable}{default}\n      {field.description or ''}")
    return "\n".join(lines) + "\n"


def env_name(settings: type[ProcessSettings], name: str, field: FieldInfo) -> str:
    alias = field.validation_alias
    prefix = settings.model_config.get("env_prefix", "")
    return alias if isinstance(alias, str) else f"{prefix}{name}".upper()
