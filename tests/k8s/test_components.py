"""What components say of the code: consumer groups, partitions, brands."""

import re
from collections.abc import Iterator

import pytest
from google.protobuf.message import Message

from cli.acls import acls_of, acls_of_reader, acls_of_rewind, kafka_users
from contracts.delivery.v1.events_pb2 import DeliveryAttempted
from contracts.ingest.v1.events_pb2 import MessageAccepted
from contracts.router.v1.events_pb2 import DeliveryAssigned
from contracts.shield.v1.events_pb2 import MessageScreened
from kernel.brand import read_brands
from kernel.kafka.consumer import subscriptions
from kernel.settings import Settings
from services.events.domain.log_event import ALL_EVENTS
from tests.support.k8s.manifests import DEPLOY, SERVICES, Manifest, name_of, of_kind, render
from tests.support.k8s.settings import class_of
from tests.support.k8s.tools import ROOT

GROUPS: dict[str, list[type[Message]]] = {
    "shield": [MessageAccepted],
    "router-screened": [MessageScreened],
    "router-attempted": [DeliveryAttempted],
    "delivery": [DeliveryAssigned],
    "events": list(ALL_EVENTS),
}


@pytest.fixture(scope="module")
def prod() -> list[Manifest]:
    return render(DEPLOY / "overlays/prod")


def test_autoscalers_look_at_groups_and_topics_that_exist(prod: list[Manifest]) -> None:
    topics = {
        own: set(names)
        for group, events in GROUPS.items()
        for own, names in subscriptions(group, events).items()
    }
    found = {}
    for trigger in triggers(prod, "kafka"):
        named = {trigger["topic"]} if "topic" in trigger else set()
        assert named <= topics[trigger["consumerGroup"]]
        found[trigger["consumerGroup"]] = named
    assert set(found) == set(topics)


def triggers(manifests: list[Manifest], kind: str) -> Iterator[dict[str, str]]:
    for scaled in of_kind(manifests, "ScaledObject"):
        yield from (one["metadata"] for one in scaled["spec"]["triggers"] if one["type"] == kind)


@pytest.mark.parametrize("group", GROUPS)
def test_the_groups_are_those_of_the_services(group: str) -> None:
    name = group.partition("-")[0]
    sources = (ROOT / "services" / name).glob("app*")
    paths = [one for path in sources for one in ([path] if path.is_file() else path.rglob("*.py"))]
    if "group" in class_of(name).model_fields:
        assert class_of(name).model_fields["group"].default == group
    else:
        assert any(re.search(rf'group="{group}"', path.read_text()) for path in paths)


def test_no_more_replicas_than_partitions_and_none_set_twice(prod: list[Manifest]) -> None:
    partitions = Settings.model_fields["kafka_partitions_max"].default
    workloads = {name_of(one): one["spec"] for one in of_kind(prod, "Deployment", "StatefulSet")}
    scaled = of_kind(prod, "ScaledObject")
    assert len(scaled) == 5
    for one in scaled:
        target = one["spec"]["scaleTargetRef"]
        assert "replicas" not in workloads[f"{target['kind']} {target['name']}"]
        assert 2 <= one["spec"]["minReplicaCount"] <= one["spec"]["maxReplicaCount"] <= partitions


def test_users_of_kafka_are_what_the_command_prints() -> None:
    acls = [one for service in SERVICES for one in acls_of(service, "")]
    acls += acls_of_rewind("rewind", "")
    for path, printed in (
        ("strimzi/users.yaml", kafka_users(acls, "obm")),
        ("kafka-reader/user.yaml", kafka_users(list(acls_of_reader("integrator", "")), "obm")),
    ):
        comment, _, text = (DEPLOY / "components" / path).read_text().partition("\n")
        assert "obm acls --strimzi obm" in comment
        assert text == "---\n".join(printed), f"print {path} anew"


def test_the_brands_can_be_read() -> None:
    brands = read_brands(str(DEPLOY / "overlays/white-label/brands.toml"))
    assert brands.default.slug == "acme"
    assert brands.default.api_hosts == ()  # calls within the cluster have no host of a brand
    assert {one.slug for one in brands} == {"acme", "partner"}
