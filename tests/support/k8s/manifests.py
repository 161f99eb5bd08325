"""Manifests, as kustomize renders them."""

import subprocess
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import yaml

from tests.support.k8s.tools import KUSTOMIZE, ROOT, require_tools

Manifest: TypeAlias = dict[str, Any]
Labels: TypeAlias = dict[str, str]
DEPLOY = ROOT / "deploy/k8s"
WITH_PODS = ("Deployment", "StatefulSet", "DaemonSet", "Job")
SERVICES = ("ingest", "shield", "router", "delivery", "events")
# What runs the image with settings of its own.
PROCESSES = (*SERVICES, "egress-host", "probe")


class Container(NamedTuple):
    """where: to name it in a message. init: it ends before the others start."""

    where: str
    spec: Manifest
    init: bool


@cache
def _rendered(folder: Path) -> str:
    command = [str(KUSTOMIZE), "build", "--load-restrictor=LoadRestrictionsNone", str(folder)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr, done.stderr
    return done.stdout


def render(folder: Path) -> list[Manifest]:
    """Those of a kustomization: a copy of one's own, to break."""
    require_tools()
    return [one for one in yaml.load_all(_rendered(folder), yaml.CSafeLoader) if one]


def components_of(folder: Path) -> set[str]:
    """The names of the components that an overlay has, and of the overlays that it is made from."""
    found = yaml.load((folder / "kustomization.yaml").read_text(), yaml.CSafeLoader)
    own = {Path(one).name for one in found.get("components", [])}
    bases = [folder / one for one in found["resources"] if (folder / one).is_dir()]
    return own.union({folder.name}, *map(components_of, bases))


def name_of(manifest: Manifest) -> str:
    return f"{manifest['kind']} {manifest['metadata']['name']}"


def labels_of(manifest: Manifest) -> Labels:
    return dict(manifest["metadata"].get("labels", {}))


def of_kind(manifests: Sequence[Manifest], *kinds: str) -> list[Manifest]:
    return [one for one in manifests if one["kind"] in kinds]


def find(manifests: Sequence[Manifest], kind: str, name: str) -> Manifest:
    """Names may end in a hash, see generators of kustomize."""
    [found] = [
        one
        for one in of_kind(manifests, kind)
        if name in (one["metadata"]["name"], one["metadata"]["name"].rpartition("-")[0])
    ]
    return found


def services_of(manifests: Sequence[Manifest]) -> list[Manifest]:
    """The workloads of the five services."""
    return [one for one in of_kind(manifests, *WITH_PODS) if one["metadata"]["name"] in SERVICES]


def processes_of(manifests: Sequence[Manifest]) -> list[Manifest]:
    """Those, and the others that run until they are told to stop."""
    return [one for one in of_kind(manifests, *WITH_PODS) if one["metadata"]["name"] in PROCESSES]


def pod_of(workload: Manifest) -> Manifest:
    pod: Manifest = workload["spec"]["template"]
    return pod


def containers_of(workload: Manifest) -> Iterator[Container]:
    pod = pod_of(workload)["spec"]
    for field in ("initContainers", "containers"):
        for one in pod.get(field, []):
            where = f"{name_of(workload)}: {one['name']}"
            yield Container(where, one, init=field == "initContainers")


def matches(selector: Manifest, labels: Labels) -> bool:
    """Whether a LabelSelector selects what has these labels."""
    for rule in selector.get("matchExpressions", []):
        assert rule["operator"] == "In", rule
        if labels.get(rule["key"]) not in rule["values"]:
            return False
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())
