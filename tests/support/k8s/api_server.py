"""A real kube-apiserver, on etcd, takes every overlay: its defaults, its admission, rules in CEL.

`python -m tests.support.k8s.api_server` (`make k8s-api`) builds both from their Go modules, which
takes ten minutes the first time, and then some seconds for each overlay. Nothing runs the pods.
"""

import json
import re
import ssl
import subprocess
import sys
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
from tests.support.k8s.manifests import (
    DEPLOY,
    WITH_PODS,
    Manifest,
    name_of,
    of_kind,
    pod_of,
    render,
)
from tests.support.k8s.tools import CRDS, FOLDER, SHARED_CRDS, find_go

KUBERNETES, ETCD = "v1.36.3", "v3.7.3"
BINARIES = FOLDER / f"api-{KUBERNETES}-{ETCD}"
TOKEN = "token"
# A controller would make it.
DEFAULT_ACCOUNT = {
    "apiVersion": "v1",
    "kind": "ServiceAccount",
    "metadata": {"name": "default", "namespace": "obm"},
}
READY_S, CRDS_S = 120.0, 60.0
STAGING = re.compile(r"^\s*(k8s\.io/\S+) => \./staging/", re.MULTILINE)


def build(go: str) -> None:
    """kube-apiserver replaces modules by folders, so it is the tool of a module that names these
    by version."""
    if (BINARIES / "etcd").is_file():
        return
    print("Building kube-apiserver and etcd, which takes about ten minutes …", flush=True)
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        described = run(go, "mod", "download", "-json", f"k8s.io/kubernetes@{KUBERNETES}")
        staging = STAGING.findall(Path(json.loads(described)["GoMod"]).read_text())
        version = KUBERNETES.replace("v1.", "v0.")
        replaced = "".join(f"replace {name} => {name} {version}\n" for name in staging)
        (folder / "go.mod").write_text(f"module api\n\ngo 1.26\n\n{replaced}")
        build_tool(go, folder, f"k8s.io/kubernetes/cmd/kube-apiserver@{KUBERNETES}")
        (folder / "go.mod").write_text("module etcd\n\ngo 1.26\n")
        build_tool(go, folder, f"go.etcd.io/etcd/server/v3@{ETCD}", name="etcd")


def build_tool(go: str, folder: Path, package: str, *, name: str = "kube-apiserver") -> None:
    run(go, "get", "-tool", package, folder=folder)
    output = str(BINARIES / name)
    run(go, "build", "-ldflags=-s -w", "-o", output, package.partition("@")[0], folder=folder)


def run(*command: str, folder: Path | None = None) -> str:
    return subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout


class ApiServer:
    """A client of it, as its administrator."""

    def __init__(self, port: int) -> None:
        self._url = f"https://127.0.0.1:{port}"
        # It has made its certificate itself.
        self._context = ssl._create_unverified_context()
        self._kinds: dict[str, dict[str, Manifest]] = {}

    def call(
        self, method: str, path: str, body: Manifest | None = None, *, kind: str = "json"
    ) -> tuple[int, Any]:
        """Status and body of the response."""
        request = urllib.request.Request(
            self._url + path,
            method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Authorization": f"Bearer {TOKEN}", "Content-Type": f"application/{kind}"},
        )
        try:
            with urllib.request.urlopen(request, context=self._context) as response:
                return response.status, json.load(response)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)

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
        server = ApiServer(port)
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


def refusals(overlay: Path) -> list[str]:
    """It is applied twice, as by an upgrade that changes nothing."""
    manifests = render(overlay)
    with started() as server:
        found = [server.apply(one) for _ in range(2) for one in manifests]
        found.append(server.apply(DEFAULT_ACCOUNT))
        found += [server.try_pod(one) for one in of_kind(manifests, *WITH_PODS)]
    print(f"{overlay.name}: {len(manifests)} objects, {sum(map(bool, found))} refusals", flush=True)
    return [one for one in found if one]


def main() -> None:
    if not (go := find_go()):
        raise SystemExit("Go is not installed, from which kube-apiserver is built.")
    build(go)
    found = [one for path in sorted((DEPLOY / "overlays").iterdir()) for one in refusals(path)]
    sys.stderr.write("".join(f"{one}\n" for one in found))
    raise SystemExit(bool(found))


if __name__ == "__main__":
    main()
