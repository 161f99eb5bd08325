"""The settings of an installation with one data folder: secrets, addresses, ports."""

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import TypeVar

import services
from cli.certificate import local_certificate
from cli.options import DATA
from kernel.crypto import new_secret_key
from kernel.embedded import EmbeddedStack
from kernel.embedded.folder import free_port, make_folder, write_atomically
from kernel.errors import ConfigError
from kernel.migrate import migrate, role_urls
from kernel.settings import Settings, read_settings

# More partitions do not help a single replica of each service, and each one costs a batch of its
# own. The partitions of existing topics do not change.
PARTITIONS_MAX = "4"
# Short, because the network is local: a consumer that crashed waits for this time.
SESSION_S = "6"
SERVICES = ("ingest", "shield", "router", "delivery", "events")
SECRETS = "secrets.json"
POSTMASTER_PORT = 3  # the line of postmaster.pid with the port

S = TypeVar("S", bound=Settings)


@dataclass(frozen=True, slots=True)
class Ports:
    """Ports of the services on loopback."""

    ingest_http: int = 8025
    ingest_grpc: int = 8026
    ingest_http_tls: int = 8443
    ingest_grpc_tls: int = 8444
    sandbox: int = 8027
    return_path: int = 8029
    submission: int = 8587
    submission_tls: int = 8465
    router_rpc: int = 8031
    delivery_rpc: int = 8032
    events_tracking: int = 8028
    events_rpc: int = 8033
    shield_rpc: int = 8034
    ingest_health: int = 8041
    shield_health: int = 8042
    router_health: int = 8043
    delivery_health: int = 8044
    events_health: int = 8045

    @classmethod
    def choose(cls, *, http: int | None = None, free: bool = False) -> "Ports":
        """The command line comes first, then the environment, then free or default ports. Raises
        ConfigError."""
        ports = cls.find_free() if free else cls()
        named = {
            field: port_of(os.environ[name], name)
            for field, name in SETTINGS.items()
            if os.environ.get(name)
        }
        return replace(ports, **named, **({} if http is None else {"ingest_http": http}))

    @classmethod
    def find_free(cls) -> "Ports":
        """Free ports outside the range that the system assigns to outgoing connections."""
        found: set[int] = set()
        while len(found) < len(fields(cls)):
            found.add(free_port())
        return cls(*found)


LOCAL_BOUNCE_MX = "mx.example.net"  # to try the API; a real installation names a host of its own

WITH_RPC = [name for name in SERVICES if name != "ingest"]
API_TLS = {"ingest_http_tls", "ingest_grpc_tls"}
# The settings of listeners, by port.
SETTINGS = {
    "ingest_http": "INGEST_HTTP_LISTEN",
    "ingest_grpc": "INGEST_GRPC_LISTEN",
    "ingest_http_tls": "INGEST_HTTP_TLS_LISTEN",
    "ingest_grpc_tls": "INGEST_GRPC_TLS_LISTEN",
    "sandbox": "DELIVERY_SANDBOX_LISTEN",
    "return_path": "DELIVERY_RETURN_PATH_LISTEN",
    "submission": "INGEST_SUBMISSION_LISTEN",
    "submission_tls": "INGEST_SUBMISSION_TLS_LISTEN",
    "events_tracking": "EVENTS_TRACKING_LISTEN",
    **{f"{name}_rpc": f"{name.upper()}_RPC_LISTEN" for name in WITH_RPC},
    **{f"{name}_health": f"{name.upper()}_HEALTH_LISTEN" for name in SERVICES},
}


def port_of(listen: str, setting: str) -> int:
    """The port of host:port, or of a port alone. Raises ConfigError."""
    port = listen.rpartition(":")[2]
    if not port.isdecimal() or int(port) > 65535:
        raise ConfigError(
            f"Invalid {setting} {listen!r}. Use host:port, for example 127.0.0.1:8025."
        )
    return int(port)


@dataclass(frozen=True, slots=True)
class InstallationSecrets:
    """The secrets of this installation; generated once, stored with its data."""

    secret_key: str
    rpc_token: str

    @classmethod
    def of(cls, folder: Path) -> "InstallationSecrets":
        path = folder / SECRETS
        if not path.exists():
            make_folder(folder)
            made = {"secret_key": new_secret_key(), "rpc_token": secrets.token_urlsafe(24)}
            write_atomically(path, json.dumps(made))
        return cls(**json.loads(path.read_text()))


def environment(
    folder: Path,
    *,
    kafka: Mapping[str, str],
    database_url: str,
    ports: Ports,
    tls: bool = False,
) -> dict[str, str]:
    """The settings of all five services, by environment variable. kafka: those of its clients. tls:
    of the APIs too."""
    own = InstallationSecrets.of(folder)
    certificate, key = local_certificate(folder)
    return {
        "INGEST_TLS_CERTIFICATE": str(certificate.absolute()),
        "INGEST_TLS_KEY": str(key.absolute()),
        "DELIVERY_TLS_CERTIFICATE": str(certificate.absolute()),
        "DELIVERY_TLS_KEY": str(key.absolute()),
        **kafka,
        "OBM_KAFKA_PARTITIONS_MAX": os.environ.get("OBM_KAFKA_PARTITIONS_MAX", PARTITIONS_MAX),
        "OBM_KAFKA_SESSION_TIMEOUT_S": os.environ.get("OBM_KAFKA_SESSION_TIMEOUT_S", SESSION_S),
        "OBM_CONTENT_STORE_URL": (folder / "content").absolute().as_uri(),
        "EVENTS_TRACKING_SPOOL": str((folder / "tracking").absolute()),
        "OBM_SECRET_KEYS": own.secret_key,
        "OBM_RPC_TOKEN": own.rpc_token,
        "OBM_BOUNCE_MX": os.environ.get("OBM_BOUNCE_MX", LOCAL_BOUNCE_MX),
        **database_urls(database_url),
        **listen_addresses(ports, tls=tls),
    }


def load_settings(settings: type[S]) -> S:
    """The settings of a service for a command: from the environment, or else from the data folder
    of a running `obm run`. Raises ConfigError."""
    if not any(name.endswith("_SYSTEM_DATABASE_URL") for name in os.environ):
        os.environ.update({**installed_settings(), **os.environ})
    return read_settings(settings, [])


def installed_settings() -> dict[str, str]:
    """Secrets and database URLs, by DATABASE_URL or from the data folder. Raises ConfigError."""
    if url := os.environ.get("DATABASE_URL"):
        return database_urls(url)
    folder = Path(os.environ.get("OBM_DATA", DATA))
    if not (url := running_database_url(folder)):
        raise ConfigError(
            f"No engine runs on the data folder {folder}. Start it with `obm run`, "
            "choose its folder with --data, or set DATABASE_URL and OBM_SECRET_KEYS."
        )
    if not (folder / SECRETS).exists():  # `obm up`: the services have their secrets from elsewhere
        return database_urls(url)
    return {"OBM_SECRET_KEYS": InstallationSecrets.of(folder).secret_key, **database_urls(url)}


def running_database_url(folder: Path) -> str:
    """The owner's URL of the PostgreSQL that runs on a data folder; empty if none runs."""
    postgres = EmbeddedStack(folder).postgres
    try:
        lines = (postgres.data / "postmaster.pid").read_text().splitlines()
        postgres.port = int(lines[POSTMASTER_PORT])
    except (OSError, IndexError, ValueError):
        return ""
    return postgres.database_url


def database_urls(database_url: str) -> dict[str, str]:
    """The database URLs of the services, by environment variable."""
    return role_urls(database_url, SERVICES, secret=database_role_secret())


def database_role_secret() -> str:
    """The secret that role passwords are derived from; empty: derived from the owner's password."""
    return os.environ.get("DATABASE_ROLE_SECRET", "")


def listen_addresses(ports: Ports, *, tls: bool = False) -> dict[str, str]:
    """The addresses of the listeners, and those by which the services find each other. tls: with
    the listeners of the APIs with TLS."""

    def at(field: str) -> str:
        return f"127.0.0.1:{getattr(ports, field)}"

    return {
        **{name: at(field) for field, name in SETTINGS.items() if tls or field not in API_TLS},
        **{f"{name.upper()}_RPC_ADDRESS": at(f"{name}_rpc") for name in WITH_RPC},
        "ROUTER_SANDBOX_ADDRESS": at("sandbox"),
    }


def migrations() -> dict[str, Path]:
    """The migration folders of the services that have a schema."""
    root = Path(next(iter(services.__path__)))
    folders = {name: root / name / "migrations" for name in SERVICES}
    return {name: folder for name, folder in folders.items() if folder.is_dir()}


def migrate_all(database_url: str) -> None:
    migrate(database_url, migrations(), secret=database_role_secret())
