"""A cluster without machines lets the pods of every overlay run, move and be replaced.

The API server, the controllers and the scheduler are those of Kubernetes; kwok says of each node
that it is there, and of each pod that it runs. `python -m tests.support.k8s.cluster` (`make
k8s-api`) builds them from their Go modules, ten minutes the first time.
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.support.k8s.api_server import TOKEN, ApiServer, refusals, spawn, started
from tests.support.k8s.binaries import BINARIES, build
from tests.support.k8s.manifests import DEPLOY, SERVICES, Manifest, name_of, of_kind, render
from tests.support.k8s.on_call import OnCall
from tests.support.k8s.tools import find_go

ZONES = ("a", "b", "c")
NODES_PER_ZONE = 2
EGRESS = "obm/egress"  # label and taint of the nodes whose addresses mail leaves by
WORKLOADS = {"Deployment": "apps/v1", "StatefulSet": "apps/v1", "DaemonSet": "apps/v1"}
RUNNING_S, DRAINED_S, POLL_S = 180.0, 120.0, 0.2
NAMESPACE = "obm"
PAUSED = "autoscaling.keda.sh/paused-replicas"


class Problem(Exception):
    """What the cluster could not do with the manifests."""


class Cluster:
    """A running one. manifests: of an overlay, which its API server has taken."""

    def __init__(self, server: ApiServer, manifests: Sequence[Manifest]) -> None:
        self._server = server
        self._manifests = manifests

    def run(self) -> None:
        """Start everything, drain each node, and replace every pod. Raises Problem."""
        self._add_nodes()
        self._scale()
        self._await("everything runs", RUNNING_S, self._what_does_not_run)
        self._check_spread()
        for node in self._server.list("v1", "Node", ""):
            self._drain(node)
        for workload in self._workloads():
            changed = {"metadata": {"annotations": {"obm/upgrade": "1"}}}
            self._server.merge(workload, {"spec": {"template": changed}})
        self._await("every pod is replaced", RUNNING_S, self._what_does_not_run)
        if of_kind(self._manifests, "ScaledObject"):
            self._restore()

    def _restore(self) -> None:
        """As docs/running-it.md says."""
        OnCall(self._server, self._scale).restore()
        self._await("everything runs after a restore", RUNNING_S, self._what_does_not_run)
        if not self._pods():
            raise Problem("nothing was started after a restore")
        print("the commands of a restore stopped and started everything", flush=True)

    def _add_nodes(self) -> None:
        for zone in ZONES:
            for number in range(NODES_PER_ZONE + 1):
                self._apply(node(zone, number, is_egress=number == NODES_PER_ZONE))

    def _scale(self) -> None:
        """As KEDA would: to the least number of pods, or to that of a pause."""
        workloads = {one["metadata"]["name"]: one for one in self._workloads()}
        if not of_kind(self._manifests, "ScaledObject"):
            return
        for one in self._server.list("keda.sh/v1alpha1", "ScaledObject"):
            target = workloads[one["spec"]["scaleTargetRef"]["name"]]
            paused = one["metadata"].get("annotations", {}).get(PAUSED)
            replicas = one["spec"]["minReplicaCount"] if paused is None else int(paused)
            self._server.merge(target, {"spec": {"replicas": replicas}}, "/scale")

    def _check_spread(self) -> None:
        """The pods of a service are on different nodes, in different zones."""
        on: dict[str, list[str]] = {}
        for pod in self._pods():
            on.setdefault(service_of(pod), []).append(pod["spec"]["nodeName"])
        for name in SERVICES:
            zones = Counter(zone_of(one) for one in on[name])
            if (
                len(set(on[name])) < len(on[name])
                or max(zones.values()) - min(zones[zone] for zone in ZONES) > 1
            ):
                raise Problem(f"{name} runs on {', '.join(sorted(on[name]))}")

    def _drain(self, drained: Manifest) -> None:
        """As `kubectl drain`. A service loses one pod at a time."""
        name = drained["metadata"]["name"]
        self._server.merge(drained, {"spec": {"unschedulable": True}})

        def evict() -> list[str]:
            left = [
                one
                for one in self._pods()
                if one["spec"].get("nodeName") == name and kind_of_owner(one) != "DaemonSet"
            ]
            for pod in left:
                self._evict(pod)
                self._check_available()
            return [one["metadata"]["name"] for one in left]

        self._await(f"{name} is drained", DRAINED_S, evict)
        self._server.merge(drained, {"spec": {"unschedulable": False}})
        self._await(f"everything runs without {name}", RUNNING_S, self._what_does_not_run)

    def _evict(self, pod: Manifest) -> None:
        """Unless a disruption budget forbids it for now."""
        meta = {"name": pod["metadata"]["name"], "namespace": NAMESPACE}
        path = f"{self._server.path_of('v1', 'Pod', NAMESPACE)}/{meta['name']}/eviction"
        body = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": meta}
        status, answer = self._server.call("POST", path, body)
        if status not in (201, 404, 429):
            raise Problem(f"eviction of {meta['name']}: {answer['message']}")

    def _check_available(self) -> None:
        ready = Counter(service_of(one) for one in self._pods() if is_ready(one))
        for one in self._workloads():
            name, wanted = one["metadata"]["name"], one["spec"].get("replicas", 1)
            if name in SERVICES and ready[name] < wanted - 1:
                raise Problem(f"{name} has {ready[name]} of {wanted} pods during a drain")

    # ── what there is ───────────────────────────────────────────────────────────────────────────

    def _apply(self, manifest: Manifest) -> None:
        if refusal := self._server.apply(manifest):
            raise Problem(refusal)

    def _pods(self) -> list[Manifest]:
        """Those that are not on their way out, without those of jobs."""
        return [
            one
            for one in self._server.list("v1", "Pod")
            if kind_of_owner(one) != "Job" and "deletionTimestamp" not in one["metadata"]
        ]

    def _workloads(self) -> list[Manifest]:
        listed = (self._server.list(version, kind) for kind, version in WORKLOADS.items())
        return [one for found in listed for one in found]

    def _what_does_not_run(self) -> list[str]:
        self._provide_volumes()
        jobs = self._server.list("batch/v1", "Job")
        late = [*filter(is_rolling, self._workloads()), *filter(is_job_open, jobs)]
        return [name_of(one) for one in late]

    def _provide_volumes(self) -> None:
        """One for each claim, as a storage class would."""
        for claim in self._server.list("v1", "PersistentVolumeClaim"):
            if claim["status"].get("phase") == "Pending":
                self._apply(volume_for(claim))

    def _await(self, what: str, limit_s: float, what_is_left: Callable[[], list[str]]) -> None:
        deadline = time.monotonic() + limit_s
        while left := what_is_left():
            if time.monotonic() > deadline:
                raise Problem(f"not so after {limit_s:g} s: {what}: {', '.join(left)}")
            time.sleep(POLL_S)


def node(zone: str, number: int, *, is_egress: bool) -> Manifest:
    name = f"{zone}{number}"
    labels = {
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "topology.kubernetes.io/zone": zone,
    }
    taint = {"key": EGRESS, "value": "true", "effect": "NoSchedule"}
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels | ({EGRESS: "true"} if is_egress else {})},
        "spec": {"taints": [taint] if is_egress else []},
    }


def volume_for(claim: Manifest) -> Manifest:
    meta, spec = claim["metadata"], claim["spec"]
    reference = {"name": meta["name"], "namespace": meta["namespace"], "uid": meta["uid"]}
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": f"{meta['name']}-{meta['uid']}"},
        "spec": {
            "accessModes": spec["accessModes"],
            "capacity": {"storage": spec["resources"]["requests"]["storage"]},
            "claimRef": reference,
            "hostPath": {"path": "/volume"},
            "storageClassName": spec.get("storageClassName", ""),
        },
    }


def is_rolling(workload: Manifest) -> bool:
    """Whether pods of its present specification are missing, or others are left."""
    status, meta = workload.get("status", {}), workload["metadata"]
    if status.get("observedGeneration", 0) < meta["generation"]:
        return True
    if workload["kind"] == "DaemonSet":
        wanted = status["desiredNumberScheduled"]
        counts = [status.get("updatedNumberScheduled", 0), status.get("numberAvailable", 0)]
        return not wanted or any(one != wanted for one in counts)
    fields = ("replicas", "updatedReplicas", "availableReplicas")
    return any(status.get(one, 0) != workload["spec"]["replicas"] for one in fields)


def is_job_open(job: Manifest) -> bool:
    return not job["spec"].get("suspend") and not job["status"].get("succeeded")


def is_ready(pod: Manifest) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def kind_of_owner(pod: Manifest) -> str:
    owners = pod["metadata"].get("ownerReferences", [])
    return str(owners[0]["kind"]) if owners else ""


def service_of(pod: Manifest) -> str:
    return str(pod["metadata"].get("labels", {}).get("app.kubernetes.io/name", ""))


def zone_of(node_name: str) -> str:
    return node_name[0]


@contextmanager
def controllers(server: ApiServer) -> Iterator[None]:
    """Those of Kubernetes, its scheduler, and kwok."""
    with ExitStack() as stack:
        config = server.folder / "config.json"
        config.write_text(json.dumps(client_config(server.url)))
        kept = ["--leader-elect=false", "--secure-port=0"]
        spawn(
            stack,
            server.folder,
            "kube-controller-manager",
            [f"--kubeconfig={config}", "--service-account-private-key-file=key.pem", *kept],
        )
        spawn(stack, server.folder, "kube-scheduler", [f"--kubeconfig={config}", *kept])
        stages = f"--config={BINARIES / 'stages.yaml'}"
        options = [f"--kubeconfig={config}", stages, "--manage-all-nodes=true"]
        spawn(stack, server.folder, "kwok", options)
        yield


def client_config(url: str) -> Manifest:
    named = {"name": "local"}
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{**named, "cluster": {"server": url, "insecure-skip-tls-verify": True}}],
        "users": [{**named, "user": {"token": TOKEN}}],
        "contexts": [{**named, "context": {"cluster": "local", "user": "local"}}],
        "current-context": "local",
    }


def problems_of(overlay: Path) -> list[str]:
    manifests = render(overlay)
    with started() as server:
        found = refusals(server, manifests)
        print(f"{overlay.name}: {len(manifests)} objects, {len(found)} refusals", flush=True)
        if found:
            return found
        began = time.monotonic()
        with controllers(server):
            try:
                Cluster(server, manifests).run()
            except Problem as problem:
                return [f"{overlay.name}: {problem}"]
        took = time.monotonic() - began
        print(f"{overlay.name}: its pods ran, moved and were replaced in {took:.0f} s", flush=True)
    return []


def main() -> None:
    if not (go := find_go()):
        raise SystemExit("Go is not installed, from which Kubernetes is built.")
    build(go)
    found = [one for path in sorted((DEPLOY / "overlays").iterdir()) for one in problems_of(path)]
    sys.stderr.write("".join(f"{one}\n" for one in found))
    raise SystemExit(bool(found))


if __name__ == "__main__":
    main()
