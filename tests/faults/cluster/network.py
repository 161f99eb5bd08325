"""Nodes of a network on this machine: namespaces with an address each, behind one bridge."""

import ctypes
import os
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

CLONE_NEWNET = 0x40000000
PORT_STATES = {"disabled": "0", "forwarding": "3"}  # those of the spanning tree protocol
NOBODY = "02:00:00:00:00:01"
OUTSIDE_ADDRESSES = 9  # of the bridge, where clients and receivers are: .1 to .9


@dataclass(frozen=True, slots=True)
class Node:
    number: int
    namespace: str
    link: str  # the end of its cable at the bridge
    address: str

    @contextmanager
    def entered(self) -> Iterator[None]:
        """What this thread opens and starts is on the node."""
        with (
            open("/proc/thread-self/ns/net", encoding="ascii") as before,
            open(self.path, encoding="ascii") as own,
        ):
            set_network(own.fileno())
            try:
                yield
            finally:
                set_network(before.fileno())

    @property
    def path(self) -> Path:
        return Path("/run/netns") / self.namespace


def set_network(namespace: int) -> None:
    """Move this thread to the network namespace of an open file."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(namespace, CLONE_NEWNET):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


@dataclass
class Network:
    """gateway: the address of this machine in the network, where clients and receivers listen."""

    nodes: Sequence[Node]
    bridge: str
    prefix: str  # the first three octets

    @property
    def gateway(self) -> str:
        return f"{self.prefix}.1"

    @property
    def cidr(self) -> str:
        return f"{self.prefix}.0/24"

    @contextmanager
    def cut(self, nodes: Sequence[Node]) -> Iterator[None]:
        """The switch drops what these nodes send and what is for them: silence, and no error."""
        for node in nodes:
            set_port(node, "disabled")
        try:
            yield
        finally:
            for node in nodes:
                set_port(node, "forwarding")


def ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, text=True)


@contextmanager
def separated(one: Node, other: Node) -> Iterator[None]:
    """These two do not reach each other, and all others reach both: each sends what is for the
    other to an Ethernet address that nobody has."""
    for here, there in ((one, other), (other, one)):
        neighbor(here, "replace", there.address, "lladdr", NOBODY, "nud", "permanent")
    try:
        yield
    finally:
        for here, there in ((one, other), (other, one)):
            neighbor(here, "del", there.address)


def neighbor(node: Node, action: str, address: str, *more: str) -> None:
    ip("-n", node.namespace, "neigh", action, address, *more, "dev", "eth0")


def set_port(node: Node, state: str) -> None:
    command = ["bridge", "link", "set", "dev", node.link, "state", PORT_STATES[state]]
    subprocess.run(command, check=True, capture_output=True, text=True)


@contextmanager
def network(nodes: int) -> Iterator[Network]:
    """A network with so many nodes, removed at the end."""
    if os.geteuid() != 0:
        raise RuntimeError("Nodes are network namespaces, which only root can make. Run as root.")
    number = os.getpid() % 250
    prefix, bridge = f"10.213.{number}", f"obm{os.getpid()}"
    found = [
        Node(one, f"{bridge}-{one}", f"{bridge}-{one}", f"{prefix}.{10 + one}")
        for one in range(1, nodes + 1)
    ]
    try:
        ip("link", "add", bridge, "type", "bridge")
        for last in range(1, OUTSIDE_ADDRESSES + 1):
            ip("addr", "add", f"{prefix}.{last}/24", "dev", bridge)
        ip("link", "set", bridge, "up")
        for node in found:
            connect(node, bridge)
        yield Network(found, bridge, prefix)
    finally:
        for node in found:
            with suppress(subprocess.CalledProcessError):
                ip("netns", "del", node.namespace)
        with suppress(subprocess.CalledProcessError):
            ip("link", "del", bridge)


def connect(node: Node, bridge: str) -> None:
    ip("netns", "add", node.namespace)
    peer = ["type", "veth", "peer", "name", "eth0", "netns", node.namespace]
    ip("link", "add", node.link, *peer)
    ip("link", "set", node.link, "master", bridge, "up")
    ip("-n", node.namespace, "addr", "add", f"{node.address}/24", "dev", "eth0")
    ip("-n", node.namespace, "link", "set", "lo", "up")
    ip("-n", node.namespace, "link", "set", "eth0", "up")
