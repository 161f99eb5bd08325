"""The engine as it runs in production: five processes, Kafka, PostgreSQL, content on disk.

All that costs is on: fsync and synchronous_commit, sealing, shield, DKIM by RSA and Ed25519, the
log, and one webhook endpoint for the last event of each message.
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
from bench.pair import servers
from bench.peers.start import Routes
from cli import directory as cli_directory
from cli.environment import SERVICES, Ports, environment, migrate_all
from cli.processes import Processes
from mail.records import Purpose
from services.ingest.settings import Settings

CLOSED_EVENTS = ["email.delivered", "email.bounced", "email.failed"]
CONNECTIONS = 32
ANSWER_WITHIN_S = 10.0


@dataclass(frozen=True, slots=True)
class Sender:
    key: str  # a live one
    dns: Mapping[str, str]  # name of a DKIM record → its text


@contextmanager
def engine(root: Path, routes: Routes) -> Iterator[Contestant]:
    """A running engine under `root`, with a customer whose key and DNS records it hands over."""
    root.mkdir(parents=True, exist_ok=True)
    with servers(root / "pair") as pair, child("bench.receiver") as receiver:
        ports = Ports.find_free()
        settings = environment(
            root,
            kafka_bootstrap_servers=pair.bootstrap_servers,
            database_url=pair.database_url,
            ports=ports,
        ) | for_loopback(root, routes)
        migrate_all(pair.database_url)
        require_durable([pair.database_url, *database_urls(settings)])
        processes = Processes(settings, root)
        try:
            processes.start()
            sender = asyncio.run(enrol(settings))
            add_webhook(ports.ingest_http, sender.key, int(str(receiver.told["port"])))
            pids = {name: processes[name].pid for name in SERVICES}
            yield Contestant(
                "engine",
                "http",
                ports.ingest_http,
                pids | dict(pair.processes) | {"webhook receiver": receiver.pid},
                dns=sender.dns,
                key=sender.key,
                connections=CONNECTIONS,
            )
        finally:
            processes.stop()


async def enrol(environment: Mapping[str, str]) -> Sender:
    """An account, a tenant, its domain and a live key, as `obm` makes them."""
    settings = Settings.model_validate(of_ingest(environment))
    async with cli_directory.open_directory(settings) as directory:
        account = await directory.add_account("bench")
        tenant = await directory.add_tenant(account.account_id, "bench")
        domain = await directory.add_domain(SENDER_DOMAIN, tenant=tenant.tenant_id)
        key, _ = await directory.add_key(tenant.tenant_id, test=False)
        wanted = directory.records(domain, bounce_mx=SENDER_DOMAIN, spf_include=SENDER_DOMAIN)
    dns = {f"{one.name}.": one.value for one in wanted if one.purpose is Purpose.DKIM}
    return Sender(key, dns)


def of_ingest(environment: Mapping[str, str]) -> dict[str, str]:
    """Settings by their names in code: those of ingest, and the secrets that all share."""
    own = {
        name.removeprefix("INGEST_").lower(): value
        for name, value in environment.items()
        if name.startswith("INGEST_")
    }
    return own | {"secret_keys": environment["OBM_SECRET_KEYS"]}


def database_urls(settings: Mapping[str, str]) -> list[str]:
    """What the services connect with: a role may have settings of its own."""
    return [value for name, value in settings.items() if name.endswith("_DATABASE_URL")]


def for_loopback(root: Path, routes: Routes) -> dict[str, str]:
    """What an operator of relays on private addresses would set: nothing that saves work."""
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
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/webhooks",
        json.dumps(
            {"endpoint": f"http://127.0.0.1:{receiver_port}/", "events": CLOSED_EVENTS}
        ).encode(),
        {"Authorization": f"Bearer {key}", "Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=ANSWER_WITHIN_S):
        pass
