"""What pods must agree on, and what is for one of them alone: users of Kafka, TLS, tokens."""

from collections.abc import Iterator, Sequence

from cli.acls import acls_of, acls_of_reader, acls_of_rewind
from kernel.kafka.acls import Acl
from kernel.settings import Settings
from tests.support.k8s.manifests import (
    SERVICES,
    Manifest,
    containers_of,
    name_of,
    of_kind,
    pod_of,
    processes_of,
    services_of,
)
from tests.support.k8s.settings import (
    class_of,
    environment_of,
    settings_in,
    sources_of,
    volumes_of,
)

USER = "kafka-"
KEDA = {("topic", "Describe"), ("group", "Describe")}
READERS = ("integrator",)
EGRESS_TOKEN, EGRESS_KEY = "obm-egress", "obm-egress-tls"
OF_EGRESS = {"delivery", "egress-host"}


def agreement_faults(manifests: Sequence[Manifest]) -> Iterator[str]:
    yield from user_faults(manifests)
    yield from user_secret_faults(manifests)
    yield from rpc_faults(manifests)
    yield from egress_faults(manifests)


def user_faults(manifests: Sequence[Manifest]) -> Iterator[str]:
    """A user of Kafka may do what the contracts say of its service, and a reader reads events."""
    for user in of_kind(manifests, "KafkaUser"):
        name = user["metadata"]["name"].removeprefix(USER)
        found = {one._replace(principal=name) for one in acls_in(user)}
        if expected := set(rights_of(name)):
            for acl in sorted(found ^ expected):
                word = "lacks" if acl in expected else "has"
                yield f"{name_of(user)}: {word} {acl.operation} of {acl.resource} {acl.name}"
        elif not {(one.resource, one.operation) for one in found} <= KEDA:
            yield f"{name_of(user)}: may do more than see how far groups are"


def rights_of(name: str) -> Iterator[Acl]:
    if name in SERVICES:
        yield from acls_of(name, "")
    if name in READERS:
        yield from acls_of_reader(name, "")
    if name == "rewind":
        yield from acls_of_rewind(name, "")


def acls_in(user: Manifest) -> Iterator[Acl]:
    for rule in user["spec"]["authorization"]["acls"]:
        resource = rule["resource"]
        prefixed = resource.get("patternType") == "prefix"
        for operation in rule["operations"]:
            yield Acl("", operation, resource["type"], resource["name"], prefixed)


def secrets_of(workload: Manifest) -> set[str]:
    """Names of those that reach its pods."""
    named = {one for container in containers_of(workload) for one in sources_of(container)}
    return {name for kind, name in named.union(volumes_of(workload)) if kind == "Secret"}


def user_secret_faults(manifests: Sequence[Manifest]) -> Iterator[str]:
    """A pod has the certificate of its own user, and of no other."""
    if not of_kind(manifests, "Kafka"):
        return
    for workload in processes_of(manifests):
        name = workload["metadata"]["name"]
        found = {one for one in secrets_of(workload) if one.startswith(USER)}
        expected = {USER + name} if name in SERVICES else set()
        if found != expected:
            yield f"{name_of(workload)}: is {sorted(found)} for Kafka, not {sorted(expected)}"


def rpc_faults(manifests: Sequence[Manifest]) -> Iterator[str]:
    """All five have TLS for RPC, and a certificate, or none has."""
    found = {}
    for workload in services_of(manifests):
        variables = environment_of(workload, manifests)
        settings = settings_in(workload["metadata"]["name"], variables)
        assert isinstance(settings, Settings)
        found[name_of(workload)] = (settings.rpc_tls_ca, settings.rpc_tls_clients)
        if settings.rpc_tls_ca and not settings.rpc_tls_certificate:
            yield f"{name_of(workload)}: has no certificate for RPC"
    if len(set(found.values())) > 1:
        yield f"not all have the same TLS for RPC: {found}"


def egress_faults(manifests: Sequence[Manifest]) -> Iterator[str]:
    """Egress hosts and delivery share a token, which nobody else has; the key is the hosts'."""
    workloads = {one["metadata"]["name"]: one for one in processes_of(manifests)}
    if "egress-host" not in workloads:
        return
    with_token = {name for name, one in workloads.items() if EGRESS_TOKEN in secrets_of(one)}
    if with_token != OF_EGRESS:
        yield f"{sorted(with_token)} have the token of egress hosts, not {sorted(OF_EGRESS)}"
    if "tls.key" in _items(workloads["delivery"], EGRESS_KEY):
        yield "delivery has the key of egress hosts"
    ports = {
        port["containerPort"]
        for container in containers_of(workloads["egress-host"])
        for port in container.spec["ports"]
    }
    listen: str = class_of("egress-host").model_fields["socks_listen"].default
    if int(listen.rpartition(":")[2]) not in ports:
        yield f"egress hosts listen on {sorted(ports)}, not where `obm egress add` sends delivery"


def _items(workload: Manifest, secret: str) -> set[str]:
    """Of what is mounted of a Secret."""
    return {
        item["key"]
        for volume in pod_of(workload)["spec"]["volumes"]
        if volume.get("secret", {}).get("secretName") == secret
        for item in volume["secret"].get("items", [{"key": "tls.key"}])
    }
