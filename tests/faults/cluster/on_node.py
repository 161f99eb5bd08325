"""Servers and services that run on a node."""

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from signal import Signals

from cli.processes import Child, Process
from kernel.embedded.server import ManagedServer
from tests.faults.cluster.network import Node, set_network
from tests.support.forked_process import Fork, ForkedProcess, run


class OnNode(ManagedServer):
    """A server of the embedded stack, started on a node."""

    node: Node

    def spawn(
        self, command: Sequence[str], death_signal: Signals, *, stdin: int
    ) -> "subprocess.Popen[bytes]":
        with self.node.entered():
            return super().spawn(command, death_signal, stdin=stdin)


class ServiceOnNode(ForkedProcess):
    """A process of a service on a node; with another PYTHONPATH, of another version, which takes
    an interpreter of its own."""

    node: Node

    def spawn(self, environment: Mapping[str, str]) -> Child:
        if "PYTHONPATH" in self.environment:
            with self.node.entered():
                return Process.spawn(self, environment)
        target = OnNodeTarget(self.node.path)
        return Fork(f"services.{self.name}", environment, self.log, target=target)


class OnNodeTarget:
    """In the fork: go to the node, and become the service. namespace: a file."""

    def __init__(self, namespace: Path) -> None:
        self.namespace = namespace

    def __call__(self, module: str, environment: dict[str, str], log: Path) -> None:
        with self.namespace.open() as namespace:
            set_network(namespace.fileno())
        run(module, environment, log)
