"""Faults of nodes and of what runs on them."""

import time
from functools import partial

from tests.faults.cluster.outages import lose_a_node, partition, promote
from tests.faults.cluster.recovery import measured
from tests.faults.cluster.versions import old_version, rolling_upgrade
from tests.faults.cluster.world import cluster_of, start_cluster
from tests.faults.scenario import Scenario
from tests.faults.world import World


def kill_brokers(world: World, times: int) -> None:
    """Kill -9 of one broker after the other, each a leader of partitions, one the controller. It is
    away for longer than its session, and the next one fails only when it has caught up."""
    for turn in range(times):
        for broker in cluster_of(world).kafka.all:
            world.pause(turn)
            with measured(world, f"broker {broker.node.number} killed"):
                world.faults += 1
                broker.kill()
                time.sleep(10)
                broker.start()


def restart_brokers(world: World, times: int) -> None:
    """One broker after the other ends by itself and starts again, as at an upgrade of Kafka."""
    for turn in range(times):
        for broker in cluster_of(world).kafka.all:
            world.pause(turn)
            with measured(world, f"broker {broker.node.number} restarted"):
                world.faults += 1
                broker.stop()
                broker.start()


def fail_over(world: World, times: int) -> None:
    """Kill -9 of the primary: replies to commits are lost. The standby is promoted, and the old
    primary becomes its standby."""
    databases = cluster_of(world).postgres
    for turn in range(times):
        world.pause(turn)
        with measured(world, "primary killed"):
            world.faults += 1
            databases.primary.kill()
            promote(world)
        databases.attach()


def cluster_scenarios() -> list[Scenario]:
    return [
        Scenario("nodes: kill brokers", kill_brokers, 3, rate_per_s=30.0, start=start_cluster),
        Scenario(
            "nodes: restart brokers", restart_brokers, 3, rate_per_s=30.0, start=start_cluster
        ),
        Scenario("nodes: fail over", fail_over, 5, rate_per_s=30.0, start=start_cluster),
        Scenario("nodes: lose a node", lose_a_node, 6, rate_per_s=30.0, start=start_cluster),
        Scenario("nodes: partition", partition, 5, rate_per_s=30.0, start=start_cluster),
        Scenario(
            "nodes: long partition",
            partial(partition, long=True),
            2,
            rate_per_s=20.0,
            start=start_cluster,
        ),
        Scenario(
            "nodes: rolling upgrade",
            rolling_upgrade,
            2,
            rate_per_s=20.0,
            start=partial(start_cluster, version=old_version),
        ),
    ]
