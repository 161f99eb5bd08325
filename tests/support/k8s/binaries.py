"""Builds the parts of a Kubernetes cluster from their Go modules: `binary("kube-apiserver")`."""

import json
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.support.k8s.tools import FOLDER

KUBERNETES, ETCD, KWOK = "v1.36.3", "v3.7.3", "v0.8.0"
BINARIES = FOLDER / f"cluster-{KUBERNETES}-{ETCD}-{KWOK}"
KUBERNETES_PARTS = ("kube-apiserver", "kube-controller-manager", "kube-scheduler")
# What kwok plays: nodes that report, and pods that are ready, or done, at once.
STAGES = ("node/fast/node-*.yaml", "node/heartbeat/node-*.yaml", "pod/fast/pod-*.yaml")
STAGING = re.compile(r"^\s*(k8s\.io/\S+) => \./staging/", re.MULTILINE)


def build(go: str) -> None:
    """Build what is not built yet."""
    missing = [one for one in KUBERNETES_PARTS if not (BINARIES / one).is_file()]
    if missing:
        print(f"Building {', '.join(missing)}, which takes about ten minutes …", flush=True)
        packages = [f"k8s.io/kubernetes/cmd/{one}" for one in missing]
        build_module(go, packages, version=KUBERNETES, replaced=staging_modules(go))
    if not (BINARIES / "etcd").is_file():
        build_module(go, ["go.etcd.io/etcd/server/v3"], version=ETCD, name="etcd")
    if not (BINARIES / "kwok").is_file():
        build_module(go, ["sigs.k8s.io/kwok/cmd/kwok"], version=KWOK)
    (BINARIES / "stages.yaml").write_text("---\n".join(stages(go)))


def stages(go: str) -> Iterator[str]:
    folder = Path(download(go, f"sigs.k8s.io/kwok@{KWOK}")["Dir"]) / "kustomize/stage"
    for pattern in STAGES:
        for path in sorted(folder.glob(pattern)):
            yield path.read_text()


def staging_modules(go: str) -> str:
    """The module of Kubernetes replaces others by folders, which only a main module can; so ours
    replaces these by their versions."""
    described = download(go, f"k8s.io/kubernetes@{KUBERNETES}")
    names = STAGING.findall(Path(described["GoMod"]).read_text())
    version = KUBERNETES.replace("v1.", "v0.")
    return "".join(f"replace {name} => {name} {version}\n" for name in names)


def build_module(
    go: str, packages: Sequence[str], *, version: str, replaced: str = "", name: str = ""
) -> None:
    """Programs of one module. name: of the program, if not the last part of the package."""
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        (folder / "go.mod").write_text(f"module built\n\ngo 1.26\n\n{replaced}")
        run(go, "get", "-tool", *(f"{one}@{version}" for one in packages), folder=folder)
        for one in packages:
            output = str(BINARIES / (name or Path(one).name))
            run(go, "build", "-ldflags=-s -w", "-o", output, one, folder=folder)


def download(go: str, module: str) -> dict[str, str]:
    """Where a module is."""
    described: dict[str, str] = json.loads(run(go, "mod", "download", "-json", module))
    return described


def run(*command: str, folder: Path | None = None) -> str:
    return subprocess.run(command, cwd=folder, check=True, stdout=subprocess.PIPE, text=True).stdout
