"""What every pod of ours is: pinned, without rights, bounded, watched, and easy to move."""

import re
from collections.abc import Iterator, Sequence

from kernel.service import exit_timeout_s
from tests.support.k8s.manifests import (
    WITH_PODS,
    Container,
    Manifest,
    containers_of,
    labels_of,
    matches,
    name_of,
    of_kind,
    pod_of,
    processes_of,
    services_of,
)
from tests.support.k8s.settings import class_of, environment_of, settings_in

DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")
ZONE, HOST = "topology.kubernetes.io/zone", "kubernetes.io/hostname"


def pod_faults(manifests: Sequence[Manifest]) -> Iterator[str]:
    for workload in of_kind(manifests, *WITH_PODS):
        yield from account_faults(workload)
        for container in containers_of(workload):
            yield from image_faults(container)
            yield from right_faults(container, pod_of(workload)["spec"])
            yield from resource_faults(container)
            if workload["kind"] != "Job" and not container.init:
                yield from probe_faults(container)
    for workload in services_of(manifests):
        yield from spread_faults(workload)
        yield from budget_faults(workload, manifests)
    for workload in processes_of(manifests):
        yield from grace_faults(workload, manifests)
    for custom in of_kind(manifests, "Cluster"):  # of PostgreSQL
        if not DIGEST.search(custom["spec"].get("imageName", "")):
            yield f"{name_of(custom)}: imageName has no digest"


def account_faults(workload: Manifest) -> Iterator[str]:
    pod = pod_of(workload)["spec"]
    if pod.get("automountServiceAccountToken") is not False:
        yield f"{name_of(workload)}: has a token of the API server"
    if pod.get("enableServiceLinks") is not False:
        yield f"{name_of(workload)}: other services would set variables such as ROUTER_PORT"


def image_faults(container: Container) -> Iterator[str]:
    if not DIGEST.search(container.spec.get("image", "")):
        yield f"{container.where}: image {container.spec.get('image')} has no digest"


def right_faults(container: Container, pod: Manifest) -> Iterator[str]:
    own, shared = container.spec.get("securityContext", {}), pod.get("securityContext", {})
    both = {**shared, **own}
    if both.get("runAsNonRoot") is not True or not both.get("runAsUser"):
        yield f"{container.where}: may run as root"
    if own.get("readOnlyRootFilesystem") is not True:
        yield f"{container.where}: its root file system is not read-only"
    if own.get("allowPrivilegeEscalation") is not False or own.get("privileged"):
        yield f"{container.where}: may gain privileges"
    if own.get("capabilities") != {"drop": ["ALL"]}:
        yield f"{container.where}: has capabilities"
    if both.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield f"{container.where}: has no seccomp profile"


def resource_faults(container: Container) -> Iterator[str]:
    resources = container.spec.get("resources", {})
    for kind, name in (("requests", "cpu"), ("requests", "memory"), ("limits", "memory")):
        if name not in resources.get(kind, {}):
            yield f"{container.where}: has no {kind} of {name}"


def probe_faults(container: Container) -> Iterator[str]:
    ports = {one["name"] for one in container.spec.get("ports", [])}
    for name, path in (("livenessProbe", "/live"), ("readinessProbe", "/ready")):
        probe = container.spec.get(name, {})
        get = probe.get("httpGet") or probe.get("tcpSocket") or {}
        if get.get("port") not in ports:
            yield f"{container.where}: {name} names no port"
        elif container.spec["name"] == "obm" and get != {"path": path, "port": "health"}:
            yield f"{container.where}: {name} is not {path} of health"


def spread_faults(workload: Manifest) -> Iterator[str]:
    pod = pod_of(workload)
    if pod["spec"].get("hostNetwork"):
        return  # one on each of its nodes, because its ports are the node's
    labels = labels_of(pod)
    spread = pod["spec"].get("topologySpreadConstraints", [])
    for key in (ZONE, HOST):
        own = [one for one in spread if one["topologyKey"] == key]
        if not any(
            matches(one["labelSelector"], labels)
            and "app.kubernetes.io/name" in one.get("matchLabelKeys", [])
            for one in own
        ):
            yield f"{name_of(workload)}: is not spread by {key}"


def budget_faults(workload: Manifest, manifests: Sequence[Manifest]) -> Iterator[str]:
    labels = labels_of(pod_of(workload))
    budgets = of_kind(manifests, "PodDisruptionBudget")
    own = [one for one in budgets if matches(one["spec"]["selector"], labels)]
    if [one["spec"].get("maxUnavailable") for one in own] != [1]:
        yield f"{name_of(workload)}: has not one budget of one pod"


def grace_faults(workload: Manifest, manifests: Sequence[Manifest]) -> Iterator[str]:
    """SIGKILL must not come before the process has ended by itself. delivery, and an egress host
    between it and receivers, wait for replies to end of data, as long as they may take."""
    name = workload["metadata"]["name"]
    settings = settings_in(name, environment_of(workload, manifests))
    [main] = pod_of(workload)["spec"]["containers"]
    before = main.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    needed = before + exit_timeout_s(settings.shutdown_timeout_s)
    if pod_of(workload)["spec"].get("terminationGracePeriodSeconds", 30) < needed:
        yield f"{name_of(workload)}: is killed before the {needed:g} s that it may take to end"
    reply_s = getattr(settings, "smtp_data_done_timeout_s", 0.0)
    if name == "egress-host":
        reply_s = class_of("delivery").model_fields["smtp_data_done_timeout_s"].default
    if settings.shutdown_timeout_s < reply_s:
        yield f"{name_of(workload)}: does not wait {reply_s:g} s for a reply to end of data"
