"""A real kube-apiserver, on etcd, takes manifests: its defaults, its admission, rules in CEL."""

import json
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.parse import urlencode

import yaml

from kernel.embedded.folder import free_port
from tests.support.k8s.binaries import BINARIES, run
from tests.support.k8s.manifests import WITH_PODS, Manifest, name_of, of_kind, pod_of
from tests.support.k8s.tools import CRDS, SHARED_CRDS

TOKEN = "token"
# A controller would make it.
DEFAULT_ACCOUNT = {
    "apiVersion": "v1",
    "kind": "ServiceAccount",
    "metadata": {"name": "default", "namespace": "obm"},
}
READY_S, CRDS_S = 120.0, 60.0


class ApiServer:
    """A client of it, as its administrator."""

    def __init__(self, port: int, folder: Path) -> None:
        self.folder = folder  # of its files
        self.url = f"https://127.0.0.1:{port}"
        # It has made its certificate itself.
        self._context = ssl._create_unverified_context()
        self._kinds: dict[str, dict[str, Manifest]] = {}

    def call(
        self, method: str, path: str, body: Manifest | None = None, *, kind: str = "json"
    ) -> tuple[int, Any]:
        """Status and body of the response."""
        request = urllib.request.Request(
            self.url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": f"application/{kind}"},
        )
        try:
            with urllib.request.urlopen(request, context=self._context) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

    def list(self, version: str, kind: str, namespace: str = "obm") -> list[Manifest]:
        status, body = self.call("GET", self.path_of(version, kind, namespace))
        if status != 200:
            raise ValueError(body["message"])
        return [{"apiVersion": version, "kind": kind, **one} for one in body["items"]]

    def merge(self, manifest: Manifest, change: Manifest, part: str = "") -> None:
        """Change fields of an object. part: a subresource, such as /scale."""
        meta = manifest["metadata"]
        path = self.path_of(manifest["apiVersion"], manifest["kind"], meta.get("namespace", ""))
        path = f"{path}/{meta['name']}{part}"
        status, body = self.call("PATCH", path, change, kind="merge-patch+json")
        if status != 200:
            raise ValueError(body["message"])

    def await_ready(self) -> None:
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            try:
                if self.call("GET", "/apis/apps/v1")[0] == 200:
                    return
            except (OSError, ValueError):
                pass
            time.sleep(0.2)
        raise TimeoutError(f"the API server is not ready after {READY_S:g} s")

    def path_of(self, version: str, kind: str, namespace: str) -> str:
        """Of the collection of a kind. A definition is served a moment after it was applied."""
        root = f"/{'apis' if '/' in version else 'api'}/{version}"
        deadline = time.monotonic() + CRDS_S
        while kind not in self._kinds.get(version, {}) and time.monotonic() < deadline:
            found = self.call("GET", root)[1].get("resources", [])
            self._kinds[version] = {one["kind"]: one for one in found if "/" not in one["name"]}
            time.sleep(0.05)
        resource = self._kinds[version][kind]
        within = f"/namespaces/{namespace}" if resource["namespaced"] else ""
        return f"{root}{within}/{resource['name']}"

    def apply(self, manifest: Manifest) -> str:
        """Why the server refuses it; empty if it does not. Unknown fields are refused."""
        meta = manifest["metadata"]
        path = self.path_of(manifest["apiVersion"], manifest["kind"], meta.get("namespace", ""))
        query = {"fieldManager": "obm", "force": "true", "fieldValidation": "Strict"}
        path = f"{path}/{meta['name']}?{urlencode(query)}"
        status, body = self.call("PATCH", path, manifest, kind="apply-patch+yaml")
        return "" if status < 300 else f"{name_of(manifest)}: {body['message']}"

    def try_pod(self, workload: Manifest) -> str:
        """Why it would refuse the pod of a workload, by the security standard of the namespace."""
        template, namespace = pod_of(workload), workload["metadata"]["namespace"]
        meta = {**template["metadata"], "name": workload["metadata"]["name"]}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": meta, "spec": template["spec"]}
        pod["spec"]["volumes"] = pod["spec"].get("volumes", []) + [
            {"name": claim["metadata"]["name"], "emptyDir": {}}
            for claim in workload["spec"].get("volumeClaimTemplates", [])
        ]
        path = f"{self.path_of('v1', 'Pod', namespace)}?dryRun=All&fieldValidation=Strict"
        status, body = self.call("POST", path, pod)
        return "" if status < 300 else f"{name_of(workload)}: {body['message']}"


@contextmanager
def started() -> Iterator[ApiServer]:
    """An empty one, with the definitions of the operators."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory()))
        client, peer, port = free_port(), free_port(), free_port()
        etcd = f"http://127.0.0.1:{client}"
        spawn(stack, folder, "etcd", etcd_options(etcd, f"http://127.0.0.1:{peer}"))
        run("openssl", "genrsa", "-out", str(folder / "key.pem"), "2048")
        (folder / "tokens.csv").write_text(f"{TOKEN},admin,admin,system:masters\n")
        spawn(stack, folder, "kube-apiserver", server_options(etcd, port))
        server = ApiServer(port, folder)
        server.await_ready()
        for definition in definitions():
            if refusal := server.apply(definition):
                raise ValueError(refusal)
        yield server


def spawn(stack: ExitStack, folder: Path, name: str, options: Sequence[str]) -> None:
    log = stack.enter_context((folder / f"{name}.log").open("wb"))
    command = [str(BINARIES / name), *options]
    process = stack.enter_context(subprocess.Popen(command, cwd=folder, stdout=log, stderr=log))
    stack.callback(process.kill)


def etcd_options(client: str, peer: str) -> list[str]:
    return [
        "--data-dir=etcd",
        f"--listen-client-urls={client}",
        f"--advertise-client-urls={client}",
        f"--listen-peer-urls={peer}",
        f"--initial-advertise-peer-urls={peer}",
        f"--initial-cluster=default={peer}",
    ]


def server_options(etcd: str, port: int) -> list[str]:
    return [
        f"--etcd-servers={etcd}",
        "--bind-address=127.0.0.1",
        f"--secure-port={port}",
        "--cert-dir=certificates",
        "--service-account-issuer=https://kubernetes.default",
        "--service-account-key-file=key.pem",
        "--service-account-signing-key-file=key.pem",
        "--token-auth-file=tokens.csv",
        "--authorization-mode=RBAC",
        "--service-cluster-ip-range=10.96.0.0/16",
    ]


def definitions() -> Iterator[Manifest]:
    for path in (*sorted(CRDS.glob("*.yaml")), *sorted(SHARED_CRDS.glob("*.yaml"))):
        for one in yaml.load_all(path.read_text(), yaml.CSafeLoader):
            if one and one["kind"] == "CustomResourceDefinition":
                yield one


def refusals(server: ApiServer, manifests: Sequence[Manifest]) -> list[str]:
    """They are applied twice, as by an upgrade that changes nothing."""
    found = [server.apply(one) for _ in range(2) for one in manifests]
    found.append(server.apply(DEFAULT_ACCOUNT))
    found += [server.try_pod(one) for one in of_kind(manifests, *WITH_PODS)]
    return [one for one in found if one]
