"""`obm egress-host`: the process of a machine whose addresses mail leaves from, while delivery runs
on other machines."""

from functools import partial
from ipaddress import ip_address, ip_network
from typing import Annotated

from pydantic import Field, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from kernel.health import DependencyHealth
from kernel.listener import raise_open_files_limit
from kernel.service import Service, start_service
from kernel.settings import CertificateSettings
from kernel.socks5.messages import check_token
from kernel.socks5.server import Socks5Config, Socks5Server
from kernel.tls import Certificates
from mail.reachable import canonical_ip, may_connect, parse_networks

SMTP_PORT = 25
Texts = Annotated[list[str], NoDecode]


class Settings(CertificateSettings):
    """egress-host: connects to receiving servers from the addresses of this machine."""

    model_config = SettingsConfigDict(
        env_prefix="EGRESS_HOST_", extra="forbid", populate_by_name=True, validate_default=True
    )

    socks_listen: str = Field(
        "127.0.0.1:1080",
        description="host:port for delivery, with TLS if there is a certificate",
    )
    tokens: Texts = Field(
        default_factory=list,
        validation_alias="OBM_EGRESS_TOKENS",
        repr=False,
        description="Comma-separated secrets of 16 to 255 characters; delivery uses its first, and"
        " each is valid",
    )
    addresses: Texts = Field(
        default_factory=list,
        description="Addresses that mail may leave from, comma-separated; empty: any of the"
        " machine",
    )
    ports: Texts = Field(
        default_factory=lambda: [str(SMTP_PORT)],
        description="Ports of destinations, comma-separated",
    )
    allowed_networks: Texts = Field(
        default_factory=list,
        description="Private networks of destinations, for your own relays; comma-separated CIDRs",
    )
    connections_max: int = Field(10_000, ge=1, description="Maximum number of connections")
    handshake_timeout_s: float = Field(
        10.0, gt=0, description="Timeout for TLS, authentication and the request"
    )
    connect_timeout_s: float = Field(
        30.0, gt=0, description="Timeout for the connection to a destination"
    )
    idle_timeout_s: float = Field(
        900.0,
        ge=660,
        description="Time without an octet after which a connection is cut; a reply to end of data"
        " may take 600 s",
    )
    shutdown_timeout_s: float = Field(
        60.0, ge=0, description="Maximum time that a stop waits for connections to end"
    )

    def uses_tls(self, name: str) -> bool:
        return name == "socks_listen" and bool(self.tls_certificate)

    @field_validator("tokens", "addresses", "ports", "allowed_networks", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        if isinstance(value, str):
            return [part.strip() for part in value.split(",") if part.strip()]
        return value

    @field_validator("tokens")
    @classmethod
    def _long_enough(cls, tokens: list[str]) -> list[str]:
        if not tokens:
            raise ValueError("must not be empty. Generate a token with `obm generate-key`.")
        for one in tokens:
            check_token(one)
        return tokens

    @field_validator("addresses")
    @classmethod
    def _canonical(cls, addresses: list[str]) -> list[str]:
        return [str(ip_address(one)) for one in addresses]

    @field_validator("ports")
    @classmethod
    def _port_numbers(cls, ports: list[str]) -> list[str]:
        for one in ports:
            if not (one.isascii() and one.isdecimal() and 0 < int(one[:6]) <= 65_535):
                raise ValueError(f"{one!r} is no port.")
        return ports

    @field_validator("allowed_networks")
    @classmethod
    def _networks(cls, networks: list[str]) -> list[str]:
        for network in networks:
            ip_network(network)
        return networks


def egress_host() -> None:
    """Let mail leave from the addresses of this machine, for delivery elsewhere.

    It listens for SOCKS 5 with TLS and a token, and connects to port 25 of public addresses, from
    the address that delivery names. SMTP and its TLS run through it, end to end. It stores nothing
    and needs neither Kafka nor the database.

    \b
    On the machine with the addresses:
      export OBM_EGRESS_TOKENS=$(obm generate-key)
      export EGRESS_HOST_SOCKS_LISTEN=0.0.0.0:1080 EGRESS_HOST_HEALTH_LISTEN=0.0.0.0:8046
      export EGRESS_HOST_TLS_CERTIFICATE=/etc/obm/out1.pem EGRESS_HOST_TLS_KEY=/etc/obm/out1.key
      obm egress-host

    \b
    Where delivery runs, set the same OBM_EGRESS_TOKENS. Then, anywhere:
      obm egress add 192.0.2.10 --host out1.example.com:1080 --ehlo out1.example.com

    \b
    Other settings, from the environment:
      EGRESS_HOST_ADDRESSES          addresses that mail may leave from [all of the machine]
      EGRESS_HOST_PORTS              ports of destinations [25]
      EGRESS_HOST_ALLOWED_NETWORKS   private networks of destinations [none]
      EGRESS_HOST_CONNECTIONS_MAX    maximum number of connections [10000]
      EGRESS_HOST_…_TIMEOUT_S        HANDSHAKE [10], CONNECT [30], IDLE [900], SHUTDOWN [60]

    See docs/egress-hosts.md.
    """
    start_service("egress-host", Settings, create_service, argv=[])


def create_service(settings: Settings) -> Service:
    """Inside the running loop. Raises ConfigError."""
    raise_open_files_limit()
    files = settings.certificate()
    certificates = Certificates(files) if files else None
    server = Socks5Server(
        settings.socks_listen,
        config_of(settings),
        tls=certificates.context() if certificates else None,
    )
    return Service(
        "egress-host",
        loops=[server.run, *([certificates.watch] if certificates else [])],
        close=_close,
        health=DependencyHealth(),
        drain=partial(server.drain, settings.shutdown_timeout_s),
        shutdown_timeout_s=settings.shutdown_timeout_s,
        health_listen=settings.health_listen,
    )


async def _close() -> None:
    """Nothing is left to close."""


def config_of(settings: Settings) -> Socks5Config:
    allowed, ports = parse_networks(settings.allowed_networks), set(map(int, settings.ports))

    def refusal_of(address: str, port: int) -> str:
        if port not in ports:
            return "port not allowed"
        return "" if may_connect(canonical_ip(address), allowed) else "private destination"

    return Socks5Config(
        tokens=settings.tokens,
        refusal_of=refusal_of,
        addresses=settings.addresses,
        connections_max=settings.connections_max,
        handshake_timeout_s=settings.handshake_timeout_s,
        connect_timeout_s=settings.connect_timeout_s,
        idle_timeout_s=settings.idle_timeout_s,
    )
