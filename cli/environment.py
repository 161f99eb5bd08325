"""What an installation under one data folder needs to know: secrets, addresses, ports."""

import json
import os
import secrets
import socket
from contextlib import ExitStack
from dataclasses import dataclass, fields
from pathlib import Path

import services
from kernel.crypto import new_secret_key
from kernel.migrate import migrate, role_urls

# One replica of each service has no use for more, and each costs broker and readers a batch of its
# own. Of topics that are there already, it changes nothing.
PARTITIONS_MAX = "4"
SERVICES = ("ingest", "shield", "router", "delivery", "events")


@dataclass(frozen=True, slots=True)
class Ports:
    """Where the services listen on loopback."""

    ingest_http: int = 8025
    ingest_grpc: int = 8026
    sandbox: int = 8027
    router_rpc: int = 8031
    delivery_rpc: int = 8032
    events_rpc: int = 8033
    shield_rpc: int = 8034
    ingest_health: int = 8041
    shield_health: int = 8042
    router_health: int = 8043
    delivery_health: int = 8044
    events_health: int = 8045

    @classmethod
    def free(cls) -> "Ports":
        """Ports that nobody uses at this moment."""
        with ExitStack() as sockets:
            bound = [sockets.enter_context(socket.socket()) for _ in fields(cls)]
            for one in bound:
                one.bind(("127.0.0.1", 0))
            return cls(*(one.getsockname()[1] for one in bound))


@dataclass(frozen=True, slots=True)
class Secrets:
    """What only this installation knows; made once, kept beside its data."""

    secret_key: str
    rpc_token: str

    @classmethod
    def of(cls, folder: Path) -> "Secrets":
        path = folder / "secrets.json"
        if not path.exists():
            folder.mkdir(parents=True, exist_ok=True)
            made = {"secret_key": new_secret_key(), "rpc_token": secrets.token_urlsafe(24)}
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with open(descriptor, "w", encoding="utf-8") as file:
                json.dump(made, file)
        return cls(**json.loads(path.read_text()))


def environment(
    folder: Path, *, kafka_bootstrap_servers: str, database_url: str, ports: Ports
) -> dict[str, str]:
    """The settings of all five services, by the names of their environment variables."""
    known = Secrets.of(folder)
    return {
        "KAFKA_BOOTSTRAP_SERVERS": kafka_bootstrap_servers,
        "KAFKA_PARTITIONS_MAX": os.environ.get("KAFKA_PARTITIONS_MAX", PARTITIONS_MAX),
        "CONTENT_STORE_URL": (folder / "content").absolute().as_uri(),
        "SECRET_KEYS": known.secret_key,
        "RPC_TOKEN": known.rpc_token,
        **role_urls(database_url, [name for name in SERVICES if name != "shield"]),
        **addresses(ports),
    }


def addresses(ports: Ports) -> dict[str, str]:
    def at(port: int) -> str:
        return f"127.0.0.1:{port}"

    rpc = {name: at(getattr(ports, f"{name}_rpc")) for name in SERVICES if name != "ingest"}
    return {
        "INGEST_HTTP_LISTEN": at(ports.ingest_http),
        "INGEST_GRPC_LISTEN": at(ports.ingest_grpc),
        "DELIVERY_SANDBOX_LISTEN": at(ports.sandbox),
        "ROUTER_SANDBOX_ADDRESS": at(ports.sandbox),
        **{f"{name.upper()}_RPC_LISTEN": address for name, address in rpc.items()},
        **{f"{name.upper()}_RPC_ADDRESS": address for name, address in rpc.items()},
        **{
            f"{name.upper()}_HEALTH_PORT": str(getattr(ports, f"{name}_health"))
            for name in SERVICES
        },
    }


def migrations() -> dict[str, Path]:
    """The services that have a schema, and where its history is."""
    root = Path(next(iter(services.__path__)))
    folders = {name: root / name / "migrations" for name in SERVICES}
    return {name: folder for name, folder in folders.items() if folder.is_dir()}


def migrate_all(database_url: str) -> None:
    migrate(database_url, migrations())
