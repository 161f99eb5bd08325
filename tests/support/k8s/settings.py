"""The settings that manifests set: they exist, and a service starts with them."""

import os
import re
from base64 import b64decode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from importlib import import_module

from kernel.crypto import new_secret_key
from kernel.errors import ConfigError
from kernel.settings import ProcessSettings, env_name, read_settings
from tests.support.k8s.manifests import (
    PROCESSES,
    SERVICES,
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
)
from tests.support.k8s.tools import ROOT

# The Secrets that docs/kubernetes.md creates, with what a service reads from each.
PAGE = ROOT / "docs/kubernetes.md"
_URL = "postgresql://role:password@postgresql/obm"
_WITH_SCHEMA = ("ingest", "shield", "router", "delivery", "events")
_ELSEWHERE = {
    "egress-host": "cli.egress_host",
    "probe": "cli.probe",
}  # settings of what is no service
DOCUMENTED: dict[str, dict[str, str]] = {
    "obm-secrets": {"OBM_SECRET_KEYS": new_secret_key(), "OBM_RPC_TOKEN": "token"},
    "obm-content-store": {"AWS_ACCESS_KEY_ID": "id", "AWS_SECRET_ACCESS_KEY": "secret"},
    "obm-database-owner": {
        "DATABASE_URL": _URL,
        "DATABASE_ROLE_SECRET": "secret",
        "username": "obm",
        "password": "password",
    },
    "obm-tls": {"tls.crt": "", "tls.key": ""},
    "obm-rpc-tls": {"ca.crt": "", "tls.crt": "", "tls.key": ""},
    "obm-egress-tls": {"ca.crt": "", "tls.crt": "", "tls.key": ""},
    "obm-probe": {"canaries.toml": ""},
    "obm-egress": {"OBM_EGRESS_TOKENS": "a-token-of-some-length"},
    # Made by the operators of Kafka and PostgreSQL.
    "obm-cluster-ca-cert": {"ca.crt": ""},
    **{f"kafka-{name}": {"user.crt": "", "user.key": ""} for name in (*SERVICES, "rewind")},
    "obm-db-ca": {"ca.crt": ""},
    "obm-tls-partner": {"tls.crt": "", "tls.key": ""},
    **{
        f"obm-{name}": {
            f"{name.upper()}_{kind}_DATABASE_URL": _URL for kind in ("SYSTEM", "TENANT")
        }
        for name in _WITH_SCHEMA
    },
}
# ConfigMaps that docs/running-it.md creates.
MADE_ON_CALL = {"rewind": {"time": "2026-05-31T11:59:00Z"}}
# Of the object store's client, and of OpenTelemetry's.
FOREIGN = re.compile(r"(AWS|GOOGLE|AZURE|OTEL)_[A-Z_]+")
VOLUMES = (("secret", "Secret", "secretName"), ("configMap", "ConfigMap", "name"))
ADDRESS = "192.0.2.1"  # of a node
EXPANSION = re.compile(r"\$\(([A-Z_]+)\)")


@cache
def class_of(service: str) -> type[ProcessSettings]:
    module = _ELSEWHERE.get(service, f"services.{service}.settings")
    kind: type[ProcessSettings] = import_module(module).Settings
    return kind


@cache
def names_of(service: str) -> frozenset[str]:
    kind = class_of(service)
    return frozenset(env_name(kind, name, field) for name, field in kind.model_fields.items())


def data_of(kind: str, name: str, manifests: Sequence[Manifest]) -> Mapping[str, str] | None:
    """Of a ConfigMap or Secret; None if nobody makes it."""
    for one in of_kind(manifests, kind):
        if one["metadata"]["name"] == name:
            coded = (
                {key: b64decode(text).decode() for key, text in one.get("data", {}).items()}
                if (kind == "Secret")
                else one.get("data", {})
            )
            return {**coded, **one.get("stringData", {})}
    return (DOCUMENTED if kind == "Secret" else MADE_ON_CALL).get(name)


def sources_of(container: Container) -> Iterator[tuple[str, str]]:
    """Kind and name of what a container's environment is made from."""
    for source in container.spec.get("envFrom", []):
        for field, kind in (("configMapRef", "ConfigMap"), ("secretRef", "Secret")):
            if field in source:
                yield kind, source[field]["name"]
    for variable in container.spec.get("env", []):
        for field, kind in (("configMapKeyRef", "ConfigMap"), ("secretKeyRef", "Secret")):
            if field in variable.get("valueFrom", {}):
                yield kind, variable["valueFrom"][field]["name"]


def environment_of(workload: Manifest, manifests: Sequence[Manifest]) -> dict[str, str]:
    """The environment of a service's container, but for what only others of it refer to."""
    [main] = [one for one in containers_of(workload) if one.spec["name"] == "obm" and not one.init]
    found: dict[str, str] = {}
    for kind, name in sources_of(main):
        found |= data_of(kind, name, manifests) or {}
    own = main.spec.get("env", [])
    of_node = {one["name"]: ADDRESS for one in own if "fieldRef" in one.get("valueFrom", {})}
    given = [one for one in own if one["name"] not in of_node]
    return found | {
        one["name"]: EXPANSION.sub(lambda match: of_node[match[1]], one["value"]) for one in given
    }


@contextmanager
def _environment(variables: Mapping[str, str]) -> Iterator[None]:
    before = dict(os.environ)
    os.environ.clear()
    os.environ.update(variables)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def settings_in(service: str, variables: Mapping[str, str]) -> ProcessSettings:
    """As the service reads them from this environment. Raises ConfigError."""
    with _environment(variables):
        return read_settings(class_of(service), [])


def setting_faults(manifests: Sequence[Manifest]) -> Iterator[str]:
    yield from _unknown_references(manifests)
    known = frozenset().union(*map(names_of, PROCESSES))
    for workload in processes_of(manifests):
        name = workload["metadata"]["name"]
        variables = environment_of(workload, manifests)
        for variable in variables:
            if variable not in known and not FOREIGN.fullmatch(variable):
                yield f"{name_of(workload)}: sets {variable}, which is no setting"
        try:
            settings = settings_in(name, variables)
        except ConfigError as error:
            yield f"{name_of(workload)}: does not start: {error}"
        else:
            yield from _listen_faults(workload, settings)
            yield from _file_faults(workload, variables)
            yield from _address_faults(workload, settings, manifests)


def _unknown_references(manifests: Sequence[Manifest]) -> Iterator[str]:
    page = PAGE.read_text()
    for workload in of_kind(manifests, *WITH_PODS):
        used = {one for container in containers_of(workload) for one in sources_of(container)}
        for kind, name in sorted(used.union(volumes_of(workload))):
            if data_of(kind, name, manifests) is None:
                yield f"{name_of(workload)}: nobody makes the {kind} {name}"
    for name in DOCUMENTED:
        if name not in page:
            yield f"{PAGE.name} does not say how to make the Secret {name}"


def volumes_of(workload: Manifest) -> Iterator[tuple[str, str]]:
    """Kind and name of what is mounted."""
    for volume in pod_of(workload)["spec"].get("volumes", []):
        for source in volume.get("projected", {}).get("sources", []):
            yield from (
                (kind, source[field]["name"]) for field, kind, _ in VOLUMES if field in source
            )
        for field, kind, key in VOLUMES:
            if field in volume:
                yield kind, volume[field][key]


def _listen_faults(workload: Manifest, settings: ProcessSettings) -> Iterator[str]:
    """A port that is listened on, and no other, is a port of the container; loopback is not."""
    [main] = [one for one in containers_of(workload) if one.spec["name"] == "obm" and not one.init]
    listens = {
        int(text.rpartition(":")[2])
        for name in type(settings).model_fields
        if name.endswith("_listen")
        and isinstance(text := getattr(settings, name), str)
        and text
        and not text.startswith("127.")
    }
    ports = {one["containerPort"] for one in main.spec["ports"]}
    if listens != ports:
        where = f"{sorted(listens)}, but its ports are {sorted(ports)}"
        yield f"{name_of(workload)}: listens on {where}"


def _file_faults(workload: Manifest, variables: Mapping[str, str]) -> Iterator[str]:
    """A file that a setting of the service names is mounted."""
    [main] = [one for one in containers_of(workload) if one.spec["name"] == "obm" and not one.init]
    mounts = tuple(f"{one['mountPath']}/" for one in main.spec["volumeMounts"])
    for name in sorted(names_of(workload["metadata"]["name"]) & variables.keys()):
        if variables[name].startswith("/") and not variables[name].startswith(mounts):
            yield f"{name_of(workload)}: {name} is not mounted"


def _address_faults(
    workload: Manifest, settings: ProcessSettings, manifests: Sequence[Manifest]
) -> Iterator[str]:
    """What is called by RPC is a Service that has this port."""
    for name in type(settings).model_fields:
        if name.endswith("_rpc_address"):
            host, _, port = getattr(settings, name).partition(":")
            if int(port) not in ports_of_service(host, manifests):
                yield f"{name_of(workload)}: no Service {host} has port {port}"


def ports_of_service(name: str, manifests: Sequence[Manifest]) -> set[int]:
    """Those that lead to a port of a pod."""
    found = set()
    for service in of_kind(manifests, "Service"):
        if service["metadata"]["name"] == name:
            names = port_names(service, manifests)
            found |= {one["port"] for one in service["spec"]["ports"] if one["targetPort"] in names}
    return found


def port_names(service: Manifest, manifests: Sequence[Manifest]) -> set[str]:
    """The named ports of the pods that a Service selects."""
    return {
        port["name"]
        for workload in of_kind(manifests, "Deployment", "StatefulSet", "DaemonSet")
        if matches({"matchLabels": service["spec"]["selector"]}, labels_of(pod_of(workload)))
        for container in containers_of(workload)
        for port in container.spec.get("ports", [])
    }


def service_faults(manifests: Sequence[Manifest]) -> Iterator[str]:
    """A Service leads to pods."""
    for service in of_kind(manifests, "Service"):
        names = port_names(service, manifests)
        for port in service["spec"]["ports"]:
            if port["targetPort"] not in names:
                yield f"{name_of(service)}: no pod has the port {port['targetPort']}"
