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
ROLE, NAME, NAMESPACE = "obm/role", "app.kubernetes.io/name", "kubernetes.io/metadata.name"
PRIVATE = {"10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12", "192.168.0.0/16"}
DNS = 53


class Edge(NamedTuple):
    source: str
    target: str
    port: int


_ALL = ("ingest", "shield", "router", "delivery", "events")
_WITH_SCHEMA = ("migrate", "ingest", "router", "delivery", "events")


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

# What overlays allow beside the diagram.
EXTRA: dict[str, Collection[Edge]] = {
    "overlays/dev": [
        *(Edge(name, "content", 9000) for name in ("ingest", "shield", "delivery")),
        Edge("delivery", "sink", 1025),
    ],
}


def edge_faults(manifests: Sequence[Manifest], extra: Collection[Edge] = ()) -> Iterator[str]:
    """extra: of an overlay, beside those of the diagram."""
    policies = of_kind(manifests, "NetworkPolicy")
    yield from _default_faults(policies)
    nodes = _nodes(manifests)
    out = Counter(_edges(policies, nodes, "egress"))
    into = Counter(_edges(policies, nodes, "ingress"))
    expected = DIAGRAM | set(extra)
    for edge in sorted({*out, *into} - expected):
        yield f"{edge} is allowed, but not in the diagram"
    for edge in sorted(expected):
        if edge.source in nodes and out[edge] != 1:
            yield f"{edge} is {out[edge]} times in the policies of its source, not once"
        if edge.target in nodes and into[edge] != 1:
            yield f"{edge} is {into[edge]} times in the policies of its target, not once"


def _default_faults(policies: Sequence[Manifest]) -> Iterator[str]:
    closed = [
        one
        for one in policies
        if one["spec"]["podSelector"] == {}
        and sorted(one["spec"]["policyTypes"]) == ["Egress", "Ingress"]
        and not one["spec"].get("ingress")
        and not one["spec"].get("egress")
    ]
    if len(closed) != 1:
        yield "nothing refuses what no policy allows"
    if not any(_is_dns(rule) for one in policies for rule in one["spec"].get("egress", [])):
        yield "no policy allows DNS"


def _nodes(manifests: Sequence[Manifest]) -> dict[str, Labels]:
    """The labels of pods, by node. The pods of operators are told by their roles."""
    found: dict[str, Labels] = {role: {ROLE: role} for role in ROLES}
    for workload in of_kind(manifests, *WITH_PODS):
        labels = labels_of(pod_of(workload))
        if not pod_of(workload)["spec"].get("hostNetwork"):  # no policy binds it
            found[labels.get(ROLE) or labels[NAME]] = labels
    return found


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
        return ["internet"] if _is_internet(peer["ipBlock"]) else [peer["ipBlock"]["cidr"]]
    if "namespaceSelector" in peer:
        return [peer["namespaceSelector"]["matchLabels"][NAMESPACE]]
    return [name for name, labels in nodes.items() if matches(peer["podSelector"], labels)]


def _is_internet(block: Manifest) -> bool:
    """All addresses but private ones."""
    if block["cidr"] == "0.0.0.0/0":
        return set(block.get("except", [])) >= PRIVATE
    return block["cidr"] == "::/0" and "fc00::/7" in block.get("except", [])
