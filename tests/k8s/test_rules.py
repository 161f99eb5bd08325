"""Each rule for manifests finds one that breaks it."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from tests.support.k8s.agreements import agreement_faults
from tests.support.k8s.edges import edge_faults
from tests.support.k8s.manifests import (
    DEPLOY,
    Manifest,
    components_of,
    find,
    name_of,
    of_kind,
    pod_of,
    render,
)
from tests.support.k8s.pod_rules import pod_faults
from tests.support.k8s.schemas import schema_faults
from tests.support.k8s.settings import service_faults, setting_faults

Break = Callable[[Manifest, Manifest, list[Manifest]], Any]


def main_of(manifests: Sequence[Manifest]) -> Manifest:
    main: Manifest = pod_of(find(manifests, "Deployment", "delivery"))["spec"]["containers"][0]
    return main


def pod_spec_of(manifests: Sequence[Manifest]) -> Manifest:
    spec: Manifest = pod_of(find(manifests, "Deployment", "delivery"))["spec"]
    return spec


BROKEN_PODS: dict[str, Break] = {
    "has no digest": lambda main, _pod, _all: main.update(image="obm-engine:latest"),
    "may run as root": lambda _main, pod, _all: pod["securityContext"].update(runAsUser=0),
    "its root file system is not read-only": lambda main, _pod, _all: main["securityContext"].pop(
        "readOnlyRootFilesystem"
    ),
    "may gain privileges": lambda main, _pod, _all: main["securityContext"].pop(
        "allowPrivilegeEscalation"
    ),
    "has capabilities": lambda main, _pod, _all: main["securityContext"]["capabilities"].update(
        add=["NET_ADMIN"]
    ),
    "has no seccomp profile": lambda _main, pod, _all: pod["securityContext"].pop("seccompProfile"),
    "has a token of the API server": lambda _main, pod, _all: pod.pop(
        "automountServiceAccountToken"
    ),
    "other services would set variables": lambda _main, pod, _all: pod.pop("enableServiceLinks"),
    "has no requests of cpu": lambda main, _pod, _all: main["resources"]["requests"].pop("cpu"),
    "has no limits of memory": lambda main, _pod, _all: main["resources"].pop("limits"),
    "livenessProbe is not /live of health": lambda main, _pod, _all: main["livenessProbe"][
        "httpGet"
    ].update(path="/ready"),
    "readinessProbe names no port": lambda main, _pod, _all: main.pop("readinessProbe"),
    "is not spread by topology.kubernetes.io/zone": lambda _main, pod, _all: pod[
        "topologySpreadConstraints"
    ].pop(0),
    "has not one budget of one pod": lambda _main, _pod, every: every.remove(
        find(every, "PodDisruptionBudget", "delivery")
    ),
    "is killed before": lambda _main, pod, _all: pod.update(terminationGracePeriodSeconds=610),
    "does not wait 600 s for a reply": lambda _main, _pod, every: find(
        every, "ConfigMap", "obm-settings"
    )["data"].update(DELIVERY_SHUTDOWN_TIMEOUT_S="60"),
}


@pytest.mark.parametrize("fault", BROKEN_PODS)
def test_a_pod_that_breaks_a_rule_is_found(fault: str) -> None:
    manifests = render(DEPLOY / "overlays/dev")
    BROKEN_PODS[fault](main_of(manifests), pod_spec_of(manifests), manifests)
    found = list(pod_faults(manifests))
    assert found != []
    assert all(fault in one and "delivery" in one for one in found)


def settings(manifests: Sequence[Manifest]) -> dict[str, str]:
    data: dict[str, str] = find(manifests, "ConfigMap", "obm-settings")["data"]
    return data


BROKEN_SETTINGS: dict[str, Break] = {
    "sets DELIVERY_SMTP_TIMEOUT_S, which is no setting": lambda _main, _pod, every: settings(
        every
    ).update(DELIVERY_SMTP_TIMEOUT_S="3"),
    "does not start: DELIVERY_RPC_LISTEN": lambda _main, _pod, every: settings(every).update(
        OBM_PLAIN_LISTEN="false"
    ),
    "Deployment delivery: does not start: OBM_SECRET_KEYS": lambda main, _pod, _all: main[
        "envFrom"
    ].pop(1),
    "nobody makes the Secret obm-other": lambda main, _pod, _all: main["envFrom"].append(
        {"secretRef": {"name": "obm-other"}}
    ),
    "listens on [8032, 8044], but its ports are [8032]": lambda main, _pod, _all: main[
        "ports"
    ].pop(),
    "Deployment delivery: OBM_KAFKA_CA_FILE is not mounted": lambda _main, _pod, every: settings(
        every
    ).update(OBM_KAFKA_CA_FILE="/etc/obm/kafka/ca.crt"),
    "no Service delivery has port 8039": lambda _main, _pod, every: settings(every).update(
        DELIVERY_RPC_ADDRESS="delivery:8039"
    ),
}


@pytest.mark.parametrize("fault", BROKEN_SETTINGS)
def test_a_wrong_setting_is_found(fault: str) -> None:
    manifests = render(DEPLOY / "overlays/dev")
    BROKEN_SETTINGS[fault](main_of(manifests), pod_spec_of(manifests), manifests)
    assert any(fault in one for one in setting_faults(manifests))


def test_a_service_without_pods_is_found() -> None:
    manifests = render(DEPLOY / "overlays/dev")
    find(manifests, "Service", "router")["spec"]["ports"][0]["targetPort"] = "http"
    assert list(service_faults(manifests)) == ["Service router: no pod has the port http"]


def test_what_no_schema_has_is_found() -> None:
    manifests = render(DEPLOY / "overlays/dev")
    pod_spec_of(manifests)["terminationGraceSeconds"] = 1
    find(manifests, "Service", "router")["spec"]["ports"][0]["port"] = "many"
    manifests.append({"apiVersion": "apps/v2", "kind": "Deployment", "metadata": {"name": "new"}})
    found = list(schema_faults(manifests))
    assert len(found) == 3
    assert found[-1] == "Deployment new: no schema of apps/v2 is known"


def policy(manifests: Sequence[Manifest], name: str) -> Manifest:
    spec: Manifest = find(manifests, "NetworkPolicy", name)["spec"]
    return spec


def remove_policies(manifests: list[Manifest], *names: str) -> None:
    for name in names:
        manifests.remove(find(manifests, "NetworkPolicy", name))


BROKEN_POLICIES: dict[str, Callable[[list[Manifest]], Any]] = {
    "source='shield', target='delivery', port=8032) is allowed": lambda every: policy(
        every, "shield"
    )["egress"].append(policy(every, "router")["egress"][0]),
    "source='router', target='delivery', port=8032) is 0 times": lambda every: policy(
        every, "router"
    )["egress"].pop(0),
    "source='router', target='kafka', port=9092) is 2 times": lambda every: policy(every, "router")[
        "egress"
    ].append(policy(every, "router")["egress"][1]),
    "is 0 times in the policies of its target": lambda every: policy(every, "shield").pop(
        "ingress"
    ),
    "target='anywhere', port=443) is allowed": lambda every: policy(every, "events")["egress"][-1][
        "to"
    ][0]["ipBlock"].pop("except"),
    "every pod of the cluster may call kafka": lambda every: every.remove(
        find(every, "NetworkPolicy", "kafka")
    ),
    "events may call anything": lambda every: remove_policies(every, "default", "dns", "events"),
    "no policy allows DNS": lambda every: every.remove(find(every, "NetworkPolicy", "dns")),
}


@pytest.mark.parametrize("fault", BROKEN_POLICIES)
def test_an_edge_too_many_or_too_few_is_found(fault: str) -> None:
    manifests = render(DEPLOY / "overlays/dev")
    BROKEN_POLICIES[fault](manifests)
    found = list(edge_faults(manifests, ["dev"]))
    assert any(fault in one for one in found), found


def rules_of(manifests: Sequence[Manifest], user: str) -> list[Manifest]:
    found: list[Manifest] = find(manifests, "KafkaUser", user)["spec"]["authorization"]["acls"]
    return found


def pod_of_host(manifests: Sequence[Manifest]) -> Manifest:
    spec: Manifest = pod_of(find(manifests, "DaemonSet", "egress-host"))["spec"]
    return spec


ALL_TOPICS = {"resource": {"type": "topic", "name": "*"}, "operations": ["Read"]}
BROKEN_AGREEMENTS: dict[str, Callable[[list[Manifest]], Any]] = {
    "KafkaUser kafka-router: has Read of topic *": lambda every: rules_of(
        every, "kafka-router"
    ).append(ALL_TOPICS),
    "KafkaUser kafka-shield: lacks Write of topic shield.": lambda every: rules_of(
        every, "kafka-shield"
    )[0]["operations"].remove("Write"),
    "KafkaUser obm-keda: may do more": lambda every: rules_of(every, "obm-keda").append(ALL_TOPICS),
    "is ['kafka-delivery', 'kafka-router'] for Kafka": lambda every: main_of(every)[
        "envFrom"
    ].append({"secretRef": {"name": "kafka-router"}}),
    "not all have the same TLS for RPC": lambda every: main_of(every).update(
        env=[{"name": "OBM_RPC_TLS_CLIENTS", "value": "false"}]
    ),
    "Deployment delivery: has no certificate for RPC": lambda every: main_of(every).update(
        env=[
            {"name": f"OBM_RPC_TLS_{name}", "value": value}
            for name, value in (("CERTIFICATE", ""), ("KEY", ""), ("CLIENTS", "false"))
        ]
    ),
    "['egress-host'] have the token": lambda every: main_of(every)["envFrom"].pop(),
    "delivery has the key of egress hosts": lambda every: [
        one["secret"].pop("items", None)
        for one in pod_spec_of(every)["volumes"]
        if one["name"] == "egress"
    ],
    "egress hosts listen on [1081, 8046]": lambda every: pod_of_host(every)["containers"][0][
        "ports"
    ][0].update(containerPort=1081),
}


@pytest.mark.parametrize("fault", BROKEN_AGREEMENTS)
def test_pods_that_do_not_agree_are_found(fault: str) -> None:
    manifests = render(DEPLOY / "overlays/prod")
    BROKEN_AGREEMENTS[fault](manifests)
    found = list(agreement_faults(manifests))
    assert any(fault in one for one in found), found


def test_an_egress_host_that_breaks_a_rule_is_found() -> None:
    manifests = render(DEPLOY / "overlays/prod")
    pod_of_host(manifests)["terminationGracePeriodSeconds"] = 60
    pod_of_host(manifests)["containers"][0]["env"].pop()
    assert list(pod_faults(manifests)) == [
        "DaemonSet egress-host: is killed before the 75 s that it may take to end",
        "DaemonSet egress-host: does not wait 600 s for a reply to end of data",
    ]


def test_port_25_past_the_egress_hosts_is_found() -> None:
    manifests = render(DEPLOY / "overlays/prod")
    [own] = [
        one for one in of_kind(manifests, "NetworkPolicy") if name_of(one).endswith(" delivery")
    ]
    own["spec"]["egress"][3]["ports"].append({"port": 25})
    components = components_of(DEPLOY / "overlays/prod")
    [found] = edge_faults(manifests, components)
    assert "source='delivery', target='internet', port=25) is allowed" in found
