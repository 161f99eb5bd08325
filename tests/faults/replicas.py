"""Second replicas of services."""

from collections.abc import Iterator
from contextlib import contextmanager

from cli.environment import Ports, listen_addresses
from cli.processes import Process
from tests.faults.world import World

LEASE_LOST_AFTER_S = 6.0  # longer than the leases of router and delivery


@contextmanager
def second_replica(world: World, name: str) -> Iterator[Process]:
    """Run a second replica of a service, and terminate it at the end."""
    replica = new_replica(world, name)
    replica.start()
    try:
        replica.await_ready()
        world.replicas.append(replica)
        yield replica
    finally:
        world.replicas[:] = []
        replica.terminate()


def new_replica(world: World, name: str) -> Process:
    """A second process of a service, which listens on its own ports."""
    own = {**world.environment, **listen_addresses(Ports.find_free())}
    peers = {key: value for key, value in world.environment.items() if key.endswith("_ADDRESS")}
    own["EVENTS_TRACKING_SPOOL"] = str(world.folder / "tracking-second")
    process = type(world.processes[name])
    return process(name, {**own, **peers}, world.folder / "logs" / f"{name}-second.log")
