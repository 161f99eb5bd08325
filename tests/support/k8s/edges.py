"""Who talks to whom: the diagram of the architecture, and what network policies allow.

Nodes are the services, `migrate`, what plays a role for them (`kafka`, `postgresql`, …), the
`internet`, and other namespaces by name. An edge is a source, a target and a port.
"""

from collections import Counter
from collections.abc import Collection, Iterator, Sequence
from typing import NamedTuple

from tests.support.k8s.manifests import (
    WITH_PODS,
    Labels,
    Manifest,
    labels_of,
    matches,
    of_kind,
    pod_of,
)
from tests.support.k8s.settings import class_of

ROLES = ("kafka", "postgresql")
PART_OF = "app.kubernetes.io/part-of"
ROLE, NAME, NAMESPACE = "obm/role", "app.kubernetes.io/name", "kubernetes.io/metadata.name"
PRIVATE = {"10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"}
DNS = 53


class Edge(NamedTuple):
    source: str
    target: str
    port: int


_ALL = ("ingest", "shield", "router", "delivery", "events")
_WITH_SCHEMA = ("migrate", *_ALL)


def rpc_edges() -> set[Edge]:
    """By the settings of the callers, and those of the servers."""
    found = set()
    for caller in _ALL:
        for name in class_of(caller).model_fields:
            if name.endswith("_rpc_address"):
                server = name.removesuffix("_rpc_address")
                listen = class_of(server).model_fields["rpc_listen"].default
                found.add(Edge(caller, server, int(listen.rpartition(":")[2])))
    return found


DIAGRAM = frozenset(
    {
        *rpc_edges(),
        *(Edge(name, "kafka", 9092) for name in _ALL),
        *(Edge(name, "postgresql", 5432) for name in _WITH_SCHEMA),
        Edge("delivery", "ingest", 8025),  # forwards and TLS reports are mail like any other
        Edge("events", "ingest", 8025),  # as are notices
        Edge("delivery", "internet", 25),
        Edge("ingest", "internet", DNS),  # authoritative name servers
        *(Edge(name, "internet", 443) for name in ("ingest", "shield", "delivery")),  # content
        Edge("events", "internet", 443),  # webhooks, certificate authorities
    }
)

_HEALTH = {"ingest": 8041, "shield": 8042, "router": 8043, "delivery": 8044, "events": 8045}
_NODE, _OTHER_NODE = "192.0.2.10/32", "192.0.2.11/32"  # that mail leaves from
# What components, and the overlay of the trial, allow beside the diagram.
EXTRA: dict[str, Collection[Edge]] = {
    "dev": [
        *(Edge(name, "content", 9000) for name in ("ingest", "shield", "delivery")),
        Edge("delivery", "sink", 1025),
    ],
    "strimzi": [Edge("rewind", "kafka", 9092)],
    "cnpg": [
        Edge(source, "postgresql", port)
        for source in ("postgresql", "cnpg-system")
        for port in (5432, 8000)
    ],
    "keda": [Edge("keda", "kafka", 9092)],
    "gateway": [
        Edge("gateway", "ingest", 8025),
        Edge("gateway", "ingest", 8026),
        Edge("gateway", "events", 8028),
        Edge("anywhere", "ingest", 8465),
        Edge("anywhere", "ingest", 8587),
        Edge("anywhere", "delivery", 2525),
    ],
    "tracking-tls": [Edge("anywhere", "events", port) for port in (8080, 8443)],
    "monitoring": [
        *(Edge("monitoring", name, port) for name, port in _HEALTH.items()),
        Edge("monitoring", "probe", 8047),
        Edge("monitoring", "postgresql", 9187),
        Edge("monitoring", "kafka", 9404),
        Edge("probe", "ingest", 8025),
        Edge("ingest", "probe", 8047),
    ],
    "kafka-reader": [Edge("integrator", "kafka", 9092)],
    "egress-proxy": [Edge("delivery", node, 1080) for node in (_NODE, _OTHER_NODE)],
    "egress-hostnetwork": [
        Edge("ingest", _NODE, 8032),
        Edge("router", _NODE, 8032),
        Edge(_NODE, "ingest", 8025),
        Edge(_NODE, "kafka", 9092),
        Edge(_NODE, "postgresql", 5432),
    ],
}

# What they take from it.
WITHOUT: dict[str, Collection[Edge]] = {"egress-proxy": [Edge("delivery", "internet", 25)]}


def edge_faults(manifests: Sequence[Manifest], components: Collection[str]) -> Iterator[str]:
    """components: whose edges are allowed beside those of the diagram."""
    policies = of_kind(manifests, "NetworkPolicy")
    yield from _default_faults(policies)
    nodes, on_hosts = _nodes(manifests)
    out = Counter(_edges(policies, nodes, "egress"))
    into = Counter(_edges(policies, nodes, "ingress"))
    extra = {edge for name in components for edge in EXTRA.get(name, ())}
    without = {edge for name in components for edge in WITHOUT.get(name, ())}
    expected = {edge for edge in (DIAGRAM | extra) - without if on_hosts.isdisjoint(edge[:2])}
    for edge in sorted({*out, *into} - expected):
        yield f"{edge} is allowed, but not in the diagram"
    for edge in sorted(expected):
        if _is_closed(nodes.get(edge.source, {}), "Egress", policies) and out[edge] != 1:
            yield f"{edge} is {out[edge]} times in the policies of its source, not once"
        if edge.target in nodes and into[edge] != 1:
            yield f"{edge} is {into[edge]} times in the policies of its target, not once"
    for name, labels in nodes.items():
        if not _is_closed(labels, "Ingress", policies):
            yield f"every pod of the cluster may call {name}"
        if labels.get(PART_OF) == "obm" and not _is_closed(labels, "Egress", policies):
            yield f"{name} may call anything"


def _is_closed(labels: Labels, direction: str, policies: Sequence[Manifest]) -> bool:
    """Whether what no policy allows is refused to, or for, a pod."""
    return bool(labels) and any(
        direction in one["spec"]["policyTypes"] and matches(one["spec"]["podSelector"], labels)
        for one in policies
    )


def _default_faults(policies: Sequence[Manifest]) -> Iterator[str]:
    if not any(_is_dns(rule) for one in policies for rule in one["spec"].get("egress", [])):
        yield "no policy allows DNS"


def _nodes(manifests: Sequence[Manifest]) -> tuple[dict[str, Labels], set[str]]:
    """The labels of pods, by node, and those that no policy binds, because they are on the network
    of a host. The pods of operators are known by their roles."""
    found: dict[str, Labels] = {role: {ROLE: role} for role in ROLES}
    on_hosts = set()
    for workload in of_kind(manifests, *WITH_PODS):
        labels = labels_of(pod_of(workload))
        name = labels.get(ROLE) or labels[NAME]
        if pod_of(workload)["spec"].get("hostNetwork"):
            on_hosts.add(name)
        else:
            found[name] = labels
    return found, on_hosts


def _edges(
    policies: Sequence[Manifest], nodes: dict[str, Labels], direction: str
) -> Iterator[Edge]:
    peers = "to" if direction == "egress" else "from"
    for policy in policies:
        own = [name for name, has in nodes.items() if matches(policy["spec"]["podSelector"], has)]
        for rule in policy["spec"].get(direction, []):
            if _is_dns(rule):
                continue
            others = {name for peer in rule[peers] for name in _peers(peer, nodes)}
            for name in own:
                for other in others:
                    pair = (name, other) if direction == "egress" else (other, name)
                    yield from (Edge(*pair, port) for port in _ports(rule))


def _ports(rule: Manifest) -> set[int]:
    return {one["port"] for one in rule["ports"]}


def _is_dns(rule: Manifest) -> bool:
    """To the name servers of the cluster."""
    spaces = [one.get("namespaceSelector") for one in rule.get("to", [])]
    return spaces == [{"matchLabels": {NAMESPACE: "kube-system"}}] and _ports(rule) == {DNS}


def _peers(peer: Manifest, nodes: dict[str, Labels]) -> list[str]:
    if "ipBlock" in peer:
        return [_outside(peer["ipBlock"])]
    if "namespaceSelector" in peer:
        return [peer["namespaceSelector"]["matchLabels"][NAMESPACE]]
    return [name for name, labels in nodes.items() if matches(peer["podSelector"], labels)]


def _outside(block: Manifest) -> str:
    """`internet` is all addresses but private ones."""
    without = set(block.get("except", []))
    if block["cidr"] not in ("0.0.0.0/0", "::/0"):
        return str(block["cidr"])
    private = PRIVATE if block["cidr"] == "0.0.0.0/0" else {"fc00::/7"}
    return "internet" if without >= private else "anywhere"
