"""The engine as in production: five processes, Kafka, PostgreSQL, content on disk.

Everything with a cost is on: fsync and synchronous_commit, encryption, shield, DKIM with RSA and
Ed25519, the event log, and one webhook endpoint for the last event of each message.
"""

import asyncio
import json
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.child import child
from bench.contestant import Contestant
from bench.durable import require_durable
from bench.messages import RESERVED, SENDER_DOMAIN
from bench.peers.start import Routes
from bench.servers import servers
from cli.api import Api, Credentials
from cli.directory import create_operator_key
from cli.environment import SERVICES, Ports, environment, migrate_all
from cli.processes import Processes
from services.ingest.settings import Settings

CLOSED_EVENTS = ["email.delivered", "email.bounced", "email.failed"]
CONNECTIONS = 32
RESPONSE_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Sender:
    tenant_id: str
    key: str  # a live key
    dns: Mapping[str, str]  # name of a DKIM record → its text


@contextmanager
def engine(
    root: Path, routes: Routes, more: Mapping[str, str] | None = None
) -> Iterator[Contestant]:
    """A running engine under `root`, with a tenant that is ready to send. more: settings."""
    root.mkdir(parents=True, exist_ok=True)
    with servers(root / "stack") as stack, child("bench.receiver") as receiver:
        ports = Ports.find_free()
        settings = environment(
            root,
            kafka=stack.kafka,
            database_url=stack.database_url,
            ports=ports,
            tls=True,
        ) | loopback_settings(root, routes)
        settings |= more or {}
        migrate_all(stack.database_url)
        require_durable([stack.database_url, *database_urls(settings)])
        processes = Processes(settings, root)
        try:
            processes.start()
            sender = create_sender(settings)
            add_webhook(ports.ingest_http, sender.key, int(str(receiver.ready["port"])))
            pids = {name: processes[name].pid for name in SERVICES}
            yield Contestant(
                "engine",
                "http",
                ports.ingest_http,
                pids | dict(stack.processes) | {"webhook receiver": receiver.pid},
                dns=sender.dns,
                key=sender.key,
                connections=CONNECTIONS,
                settings=settings,
                database_url=stack.database_url,
            )
        finally:
            processes.stop()


def create_sender(environment: Mapping[str, str], domain_name: str = SENDER_DOMAIN) -> Sender:
    """Create an account, a tenant, a domain and a live key, as `obm` does."""
    settings = Settings.model_validate(ingest_settings(environment))
    operator_key = asyncio.run(create_operator_key("bench", settings=settings))
    url = f"http://{environment['INGEST_HTTP_LISTEN']}/v1"
    api = Api(Credentials(url, operator_key, "the bench"))
    account = api.post("/accounts", {"name": domain_name})
    tenant = api.post("/tenants", {"name": domain_name, "account_id": account["id"]})
    tenant_id = str(tenant["id"])
    domain = api.post("/domains", {"name": domain_name, "vouched": True}, tenant_id=tenant_id)
    new = {"name": domain_name, "tenant_id": tenant_id, "test": False}
    key = str(api.post("/api-keys", new)["token"])
    records = [one for one in domain["records"] if one["record"] == "DKIM"]
    return Sender(tenant_id, key, {f"{one['name']}.": str(one["value"]) for one in records})


def ingest_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """The settings of ingest by field name, and the shared secrets."""
    own = {
        name.removeprefix("INGEST_").lower(): value
        for name, value in environment.items()
        if name.startswith("INGEST_")
    }
    return own | {"secret_keys": environment["OBM_SECRET_KEYS"]}


def database_urls(settings: Mapping[str, str]) -> list[str]:
    """The database URLs of all services: their roles may have different settings."""
    return [value for name, value in settings.items() if name.endswith("_DATABASE_URL")]


def loopback_settings(root: Path, routes: Routes) -> dict[str, str]:
    """Settings for relays on private addresses; they save no work."""
    path = root / "routes.toml"
    path.write_text(routes_toml(routes))
    return {
        "INGEST_ALLOWED_RESERVED_DOMAINS": RESERVED,
        "ROUTER_ROUTES_FILE": str(path),
        "DELIVERY_RELAY_ALLOWED_NETWORKS": "127.0.0.0/8",
        "EVENTS_WEBHOOK_ALLOWED_NETWORKS": "127.0.0.0/8",
        "OBM_LOG_FORMAT": "json",
    }


def routes_toml(routes: Routes) -> str:
    return "\n".join(
        f'[[route]]\ndomain = "{domain}"\nmx_hosts = ["{address}:{port}"]\n'
        for domain, (address, port) in routes.items()
    )


def add_webhook(port: int, key: str, receiver_port: int) -> None:
    body = {"endpoint": f"http://127.0.0.1:{receiver_port}/", "events": CLOSED_EVENTS}
    post(port, "/v1/webhooks", key=key, body=body)


def post(port: int, path: str, *, key: str, body: object) -> None:
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}{path}",
        json.dumps(body).encode(),
        {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=RESPONSE_TIMEOUT_S):
        pass
