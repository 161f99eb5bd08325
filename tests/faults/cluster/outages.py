"""A node that is gone, or that the others cannot reach, and what an operator does about it."""

import os
import random
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager

from cli.processes import Process
from tests.faults.cluster.network import Node, separated
from tests.faults.cluster.recovery import measured
from tests.faults.cluster.world import WITH_SERVICES, Cluster, Replicas, cluster_of
from tests.faults.world import DATA_SENT, World

ARRIVED_S = 0.2  # what was sent before a cut has been handled
NOTICED_S = 5.0  # until an operator of databases acts, as Patroni does
OUTAGE_MIN_S = 10.0
# Up to five minutes on demand: OBM_FAULTS_OUTAGE_MAX_S=300.
OUTAGE_MAX_S = float(os.environ.get("OBM_FAULTS_OUTAGE_MAX_S", "30"))
# Longer than sessions, leases and what clients of servers try again for.
LONG_OUTAGE_S = 300.0


def lose_a_node(world: World, times: int) -> None:
    """The power of a whole node fails, with a broker, services and a database on it: connections
    to it do not end, they are silent. Each node in turn."""
    cluster = cluster_of(world)
    for turn in range(times):
        node = cluster.network.nodes[turn % len(cluster.network.nodes)]
        world.pause(turn)
        with measured(world, f"node {node.number} ({describe(world, node)}) lost"):
            with cluster.network.cut([node]):
                time.sleep(ARRIVED_S)
                power_off(world, node)
                outage(world, [node], duration_s(world, turn))
            power_on(world, node)
        cluster.postgres.attach()


def partition(world: World, times: int, *, long: bool = False) -> None:
    """Nodes that are alive do not reach each other. long: for five minutes each time."""
    cluster = cluster_of(world)
    for turn, (name, cut, away) in zip(range(times), partitions(cluster), strict=False):
        world.pause(turn)
        with measured(world, name), cut:
            time.sleep(ARRIVED_S)
            outage(world, away, LONG_OUTAGE_S if long else duration_s(world, turn))
        cluster.postgres.attach()


def partitions(cluster: Cluster) -> Iterator[tuple[str, AbstractContextManager[None], list[Node]]]:
    """Its name, what makes it, and the nodes that are alone in it; each kind in turn."""
    databases, own = cluster.postgres, cluster.network
    services = own.nodes[WITH_SERVICES[1]]  # without a database
    while True:
        alone = [databases.primary.node]
        yield "the primary's node alone", own.cut(alone), alone
        alone = [services]
        yield "a node with services alone", own.cut(alone), alone
        alone = [databases.standby.node]
        yield "the standby's node alone", own.cut(alone), alone
        primary, standby = databases.primary.node, databases.standby.node
        yield "services without the primary", separated(services, primary), []
        yield "the primary without its standby", separated(primary, standby), [standby]


def duration_s(world: World, turn: int) -> float:
    chance = random.Random(f"outage {world.seed} {turn}")
    return chance.uniform(OUTAGE_MIN_S, OUTAGE_MAX_S)


def describe(world: World, node: Node) -> str:
    databases = cluster_of(world).postgres
    names = ["broker", *(["services"] if services_of(world, node) else [])]
    if node is databases.primary.node:
        names.append("primary")
    if node is databases.standby.node:
        names.append("standby")
    return ", ".join(names)


def services_of(world: World, node: Node) -> Sequence[Process]:
    assert isinstance(world.processes, Replicas)
    return world.processes.by_node.get(node, ())


def power_off(world: World, node: Node) -> None:
    cluster = cluster_of(world)
    for process in services_of(world, node):
        process.kill()
    for server in (*cluster.kafka.all, *cluster.postgres.all):
        if server.node is node:
            server.kill()


def power_on(world: World, node: Node) -> None:
    """The broker and the services start by themselves. A database that was the primary must not."""
    for broker in cluster_of(world).kafka.all:
        if broker.node is node:
            broker.start()
    for process in services_of(world, node):
        process.start()
    for process in services_of(world, node):
        process.await_ready()


def outage(world: World, away: Sequence[Node], seconds: float) -> None:
    """Some nodes are away. After a while, the operator of the database lets the other side commit:
    a standby becomes the primary, or a primary goes on without its standby. An old primary ends
    before anybody reaches it again."""
    world.faults += 1
    databases, old = cluster_of(world).postgres, cluster_of(world).postgres.primary
    began_s = time.monotonic()
    if old.node not in away:
        world.data_sent_count += old.count(DATA_SENT)
    time.sleep(NOTICED_S)
    if old.node in away:
        promote(world)
    elif databases.standby.node in away:
        databases.commit_alone()
    time.sleep(max(0.0, began_s + seconds - time.monotonic()))
    if old is not databases.primary:
        old.kill()


def promote(world: World) -> None:
    """Attempts that the standby knows to be sent, without an outcome, may become ambiguous: no
    process can tell it more before it is the primary."""
    databases = cluster_of(world).postgres
    world.data_sent_count += databases.standby.count(DATA_SENT)
    databases.promote()
