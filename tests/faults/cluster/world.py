"""A world on three nodes. A node that fails takes a broker, a database and services with it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from bench.child import child
from bench.sink.client import sink
from cli.environment import SERVICES, WITH_RPC, Ports, environment, listen_addresses
from cli.processes import Process, Processes
from tests.faults.client import Client
from tests.faults.cluster import prepare
from tests.faults.cluster.brokers import Brokers
from tests.faults.cluster.databases import Databases
from tests.faults.cluster.network import Network, Node, network
from tests.faults.cluster.on_node import ServiceOnNode
from tests.faults.world import (
    AUDIT_INTERVALS,
    PLAN,
    PRICES,
    SENDER_DOMAIN,
    SHORT_TIMEOUTS,
    SITES,
    World,
    routes_file,
)
from tests.support.accounts import add_webhook
from tests.support.directory import CreatedAccount

ROOT = Path(__file__).resolve().parents[3]
NODES = 3
WITH_SERVICES = (0, 2)  # one replica of each service is beside the primary, the other beside none
# The leases are those of a real installation: with shorter ones, a process that a busy machine
# leaves without CPU is taken for dead, and what it has just sent is flagged, rightly.
SETTINGS = {
    **SHORT_TIMEOUTS,
    "OBM_KAFKA_PARTITIONS_MAX": "6",
    "OBM_KAFKA_SESSION_TIMEOUT_S": "6",
    "OBM_LEASE_S": "10",
    "DELIVERY_WORKER_LEASE_S": "10",
}


@dataclass
class Cluster:
    """The servers, as `World.stack`."""

    network: Network
    kafka: Brokers
    postgres: Databases

    @property
    def database_url(self) -> str:
        return self.postgres.database_url


def cluster_of(world: World) -> Cluster:
    assert isinstance(world.stack, Cluster), "the scenario needs a world on three nodes"
    return world.stack


class Replicas(Processes):
    """Two processes of each service. By the name of a service: the first one."""

    def __init__(self, environments: Mapping[Node, Mapping[str, str]], folder: Path) -> None:
        self.by_node = {
            node: [new_process(name, node, own, folder) for name in SERVICES]
            for node, own in environments.items()
        }
        first, *_ = self.by_node.values()
        self._by_name = {one.name: one for one in first}

    def all(self) -> list[Process]:
        return [one for processes in self.by_node.values() for one in processes]


def new_process(name: str, node: Node, own: Mapping[str, str], folder: Path) -> ServiceOnNode:
    process = ServiceOnNode(name, own, folder / "logs" / f"{name}-{node.number}.log")
    process.node = node
    return process


def code_of(tree: Path) -> dict[str, str]:
    """The environment variables that make a new interpreter run the code of a tree."""
    return {"PYTHONPATH": str(tree), "PYTHONSAFEPATH": "1"}


def this_version(_: Path) -> Mapping[str, str]:
    return {}


@contextmanager
def start_cluster(
    folder: Path,
    *,
    seed: int,
    rate_per_s: float,
    audited: bool = False,
    version: Callable[[Path], Mapping[str, str]] = this_version,
) -> Iterator[World]:
    """As `start_world`, on three nodes. version: gets a folder for the code of another version, and
    returns the environment variables with which the services run it."""
    with ExitStack() as stack:
        cluster = stack.enter_context(started_servers(folder))
        own = cluster.network
        log = f"--log={folder / 'sink.jsonl'}"
        sites = stack.enter_context(sink([f"--sites={SITES}", f"--network={own.prefix}", log]))
        receiver = [f"--host={own.gateway}", f"--log={folder / 'webhooks.jsonl'}"]
        webhooks = stack.enter_context(child("bench.receiver", receiver))
        shared = settings_of(folder, cluster, audited=audited)
        shared["ROUTER_ROUTES_FILE"] = str(routes_file(folder, sites))
        (folder / "prices.toml").write_text(PRICES)
        shared["OBM_PRICES_FILE"] = str(folder / "prices.toml")
        code = version(folder)
        customer = prepare_database(cluster.database_url, shared, code=code)
        shared |= code
        environments = environments_of(shared, [own.nodes[one] for one in WITH_SERVICES], folder)
        processes = Replicas(environments, folder)
        stack.callback(processes.stop)
        processes.start()
        listens = [one["INGEST_HTTP_LISTEN"] for one in environments.values()]
        webhook_url = f"http://{own.gateway}:{webhooks.ready['port']}/"
        sender = f"orders@{SENDER_DOMAIN}"
        client = Client(listens, customer.api_key, sender, rate_per_s, seed)
        host, port = client.targets[0]
        add_webhook(port, customer.api_key, webhook_url, host=host)
        stack.callback(client.stop)
        client.start()
        yield World(
            folder, cluster, processes, shared, sites, webhook_url, client,
            customer.account_id, customer.tenant_id, seed,
        )  # fmt: skip


def prepare_database(
    owner_url: str, settings: Mapping[str, str], *, code: Mapping[str, str]
) -> CreatedAccount:
    done = subprocess.run(
        [sys.executable, str(prepare.__file__), owner_url, SENDER_DOMAIN, PLAN],
        env={**os.environ, **code_of(ROOT), **code},
        input=json.dumps(dict(settings)),
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    return CreatedAccount(**json.loads(done.stdout))


@contextmanager
def started_servers(folder: Path) -> Iterator[Cluster]:
    with network(NODES) as own:
        folder.chmod(0o711)  # PostgreSQL has another user
        cluster = Cluster(own, Brokers(folder, own), Databases(folder, own))
        try:
            cluster.kafka.start()
            cluster.postgres.start()
            yield cluster
        finally:
            cluster.kafka.close()
            cluster.postgres.close()


def settings_of(folder: Path, cluster: Cluster, *, audited: bool) -> dict[str, str]:
    """Those that all replicas share."""
    kafka, url = cluster.kafka.client_settings, cluster.database_url
    return {
        **environment(folder, kafka=kafka, database_url=url, ports=Ports.find_free()),
        **SETTINGS,
        **(AUDIT_INTERVALS if audited else {}),
        "OBM_PLAIN_LISTEN": "true",
        "ROUTER_REPUTATION_POLICY": "none",
        "DELIVERY_RELAY_ALLOWED_NETWORKS": cluster.network.cidr,
        "EVENTS_WEBHOOK_ALLOWED_NETWORKS": cluster.network.cidr,
    }


def environments_of(
    shared: Mapping[str, str], nodes: list[Node], folder: Path
) -> dict[Node, dict[str, str]]:
    """The settings of the services of each node; each finds all replicas of the others."""
    listens = {node: listens_of(node) for node in nodes}
    rpc = {
        f"{name.upper()}_RPC_ADDRESS": "ipv4:"
        + ",".join(own[f"{name.upper()}_RPC_LISTEN"] for own in listens.values())
        for name in WITH_RPC
    }
    return {
        node: {
            **shared,
            **own,
            **rpc,
            "EVENTS_TRACKING_SPOOL": str(folder / f"tracking-{node.number}"),
        }
        for node, own in listens.items()
    }


def listens_of(node: Node) -> dict[str, str]:
    found = listen_addresses(Ports.find_free())
    return {name: one.replace("127.0.0.1", node.address) for name, one in found.items()}
