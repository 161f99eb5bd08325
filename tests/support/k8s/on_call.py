"""Restores the database on a cluster without machines, by the commands of docs/running-it.md."""

import json
import re
import time
from collections.abc import Callable

from tests.support.k8s.api_server import ApiServer
from tests.support.k8s.kubectl import Command, commands_of, selects
from tests.support.k8s.manifests import Manifest, labels_of
from tests.support.k8s.tools import ROOT

BLOCK = re.compile(r"^## Restore the database .*?^```\n(.*?)^```", re.MULTILINE | re.DOTALL)
VERSIONS = {"pod": "v1", "configmap": "v1", "job": "batch/v1", "scaledobject": "keda.sh/v1alpha1"}
KINDS = {"pod": "Pod", "configmap": "ConfigMap", "job": "Job", "scaledobject": "ScaledObject"}
NAMESPACE, LIMIT_S, POLL_S = "obm", 120.0, 0.2


def restore_commands() -> list[Command]:
    [block] = BLOCK.findall((ROOT / "docs/running-it.md").read_text())
    return commands_of(block)


class OnCall:
    """after: what else happens in the cluster after a command. Raises ValueError if the server
    refuses one, and TimeoutError if it waits in vain."""

    def __init__(self, server: ApiServer, after: Callable[[], None]) -> None:
        self._server = server
        self._after = after

    def restore(self) -> None:
        for command in restore_commands():
            if command.verb != "logs":  # no container writes any
                getattr(self, command.verb.split()[0])(command)
            self._after()

    def annotate(self, command: Command) -> None:
        kind, change = command.names
        name, equal, value = change.partition("=")
        annotation = {name: value} if equal else {name.removesuffix("-"): None}
        for one in self._list(kind):
            self._server.merge(one, {"metadata": {"annotations": annotation}})

    def create(self, command: Command) -> None:
        data = dict(one.split("=", 1) for one in command.flags["--from-literal"])
        meta = {"name": command.names[-1], "namespace": NAMESPACE}
        made = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta, "data": data}
        if refusal := self._server.apply(made):
            raise ValueError(refusal)

    def patch(self, command: Command) -> None:
        for kind, name in command.targets:
            self._server.merge(self._find(kind, name), json.loads(command.flags["-p"][0]))

    def delete(self, command: Command) -> None:
        for kind, name in command.targets:
            path = self._server.path_of(VERSIONS[kind], KINDS[kind], NAMESPACE)
            options = {"propagationPolicy": "Background"}
            status, body = self._server.call("DELETE", f"{path}/{name}", options)
            if status != 200:
                raise ValueError(body["message"])

    def wait(self, command: Command) -> None:
        [what] = command.flags["--for"]
        deadline = time.monotonic() + LIMIT_S
        while not self._is_so(command, what):
            if time.monotonic() > deadline:
                raise TimeoutError(command.text)
            time.sleep(POLL_S)

    def _is_so(self, command: Command, what: str) -> bool:
        [(kind, name)] = command.targets
        if what == "delete":
            [selector] = command.flags["-l"]
            return not any(selects(selector, labels_of(one)) for one in self._list(kind))
        conditions = self._find(kind, name).get("status", {}).get("conditions", [])
        wanted = what.removeprefix("condition=")
        return any(one["type"] == wanted and one["status"] == "True" for one in conditions)

    def _find(self, kind: str, name: str) -> Manifest:
        return next(one for one in self._list(kind) if one["metadata"]["name"] == name)

    def _list(self, kind: str) -> list[Manifest]:
        return self._server.list(VERSIONS[kind], KINDS[kind], NAMESPACE)
