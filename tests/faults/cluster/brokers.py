"""Three brokers of one Kafka cluster, each on a node of its own."""

import base64
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from uuid import uuid4

from kernel.embedded.folder import Folder, free_port, write_atomically
from kernel.embedded.kafka import EmbeddedKafka
from tests.faults.cluster.network import Network, Node
from tests.faults.cluster.on_node import OnNode

# Slower elections than those of a single node, and copies of everything.
REPLICATED = """
node.id={number}
listeners=BROKER://{address}:{port},CONTROLLER://{address}:{controller}
advertised.listeners=BROKER://{address}:{port},CONTROLLER://{address}:{controller}
controller.quorum.bootstrap.servers={quorum}
offsets.topic.replication.factor=3
transaction.state.log.replication.factor=3
transaction.state.log.min.isr=2
share.coordinator.state.topic.replication.factor=3
share.coordinator.state.topic.min.isr=2
default.replication.factor=3
min.insync.replicas=2
unclean.leader.election.enable=false
controller.quorum.election.timeout.ms=1000
controller.quorum.election.backoff.max.ms=1000
controller.quorum.fetch.timeout.ms=2000
broker.session.timeout.ms=6000
broker.heartbeat.interval.ms=1000
replica.lag.time.max.ms=10000
"""


class Broker(OnNode, EmbeddedKafka):
    """controllers: the numbers, addresses and directories of all, as the quorum's first members."""

    def __init__(self, folder: Folder, node: Node, *, controller: int) -> None:
        super().__init__(folder, port=free_port())
        self.node = node
        self.controller_address = f"{node.address}:{controller}"
        self.directory = base64.urlsafe_b64encode(b"\0" + uuid4().bytes[1:]).decode().rstrip("=")
        self.peers: Sequence[Broker] = ()
        self.cluster_id = ""

    @property
    def bootstrap_servers(self) -> str:
        """Of the whole cluster."""
        return ",".join(f"{one.node.address}:{one.wanted_port}" for one in self.peers)

    def cluster_options(self) -> list[str]:
        voters = (
            f"{one.node.number}@{one.controller_address}:{one.directory}" for one in self.peers
        )
        return ["--initial-controllers", ",".join(voters), "--cluster-id", self.cluster_id]

    def properties(self, data: Path) -> str:
        return super().properties(data) + REPLICATED.format(
            number=self.node.number,
            address=self.node.address,
            port=self.port,
            controller=self.controller_address.rpartition(":")[2],
            quorum=",".join(one.controller_address for one in self.peers),
        )

    def aot_options(self) -> list[str]:
        return [*super().aot_options(), "-Xmx256m"]


class Brokers:
    """The cluster, with the methods of one `EmbeddedKafka`."""

    def __init__(self, folder: Path, network: Network) -> None:
        self.all = [
            Broker(Folder(folder / f"broker-{node.number}"), node, controller=free_port())
            for node in network.nodes
        ]
        password, cluster_id = secrets.token_hex(24), "obm-" + uuid4().hex[:18]
        for one in self.all:
            one.peers, one.cluster_id = self.all, cluster_id
            one.folder.open()
            one.folder.remember("port.controller", [int(one.controller_address.split(":")[1])])
            write_atomically(one.folder.path / "kafka.password", password)

    @property
    def client_settings(self) -> dict[str, str]:
        return self.all[0].client_settings

    @property
    def running(self) -> bool:
        return all(one.running for one in self.all)

    def start(self) -> None:
        """Start those that do not run, at once: one alone has no quorum."""
        with ThreadPoolExecutor(len(self.all)) as threads:
            for _ in threads.map(Broker.start, self.all):
                pass

    def kill(self) -> None:
        for one in self.all:
            one.kill()

    def wipe(self) -> None:
        for one in self.all:
            one.wipe()

    def pause(self) -> None:
        for one in self.all:
            one.pause()

    def resume(self) -> None:
        for one in self.all:
            one.resume()

    def close(self) -> None:
        self.kill()
        for one in self.all:
            one.folder.close()
