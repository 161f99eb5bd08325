"""The commands of kubectl that pages show, and whether manifests have what they name."""

import re
import shlex
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import takewhile
from typing import Any

import typer
import typer.main
from typer.core import TyperGroup

from cli.main import app
from tests.support.k8s.manifests import WITH_PODS, Manifest, labels_of, of_kind, pod_of
from tests.support.k8s.settings import DOCUMENTED, MADE_ON_CALL

SHOWN = re.compile(r"(?<![\w`/])`?kubectl ((?:[^`\n]|(?<=\\)\n)+)")
ENDS = set(";|&)")
SELECTOR = re.compile(r"([\w./-]+)(?:=([\w.-]+)| in \(([\w,.-]+)\))")
# Made by Kubernetes and by operators, which manifests do not have.
MADE = {"Pod", "Event", "Secret", "ConfigMap", "Backup", "Namespace", "Node"}
SHORT = {"svc": "service", "po": "pod", "cm": "configmap"}
# Of each command: the flags that have a value, and those that have none.
COMMANDS: dict[str, tuple[set[str], set[str]]] = {
    "annotate": (set(), {"--all"}),
    "apply": ({"-k", "-f"}, {"--server-side"}),
    "create configmap": ({"--from-literal"}, set()),
    "create namespace": (set(), set()),
    "create secret generic": (
        {"--type", "--from-literal", "--from-env-file", "--from-file"},
        set(),
    ),
    "create secret tls": ({"--cert", "--key"}, set()),
    "delete": (set(), {"--ignore-not-found"}),
    "describe": ({"-l"}, set()),
    "exec": (set(), set()),
    "get": ({"-o", "-l", "--field-selector"}, set()),
    "label": (set(), set()),
    "logs": ({"-l", "--since"}, set()),
    "patch": ({"-p", "--type"}, set()),
    "port-forward": (set(), set()),
    "rollout restart": ({"-l"}, set()),
    "rollout status": (set(), set()),
    "rollout undo": (set(), set()),
    "scale": ({"--replicas"}, set()),
    "wait": ({"--for", "--timeout", "-l"}, {"--all"}),
}
MAKERS = ("create", "apply", "label")


@dataclass
class Command:
    """flags: values by name; a flag without a value has none. inside: what `exec` runs."""

    text: str
    verb: str = ""
    namespace: str = ""
    names: list[str] = field(default_factory=list)
    flags: dict[str, list[str]] = field(default_factory=dict)
    inside: list[str] = field(default_factory=list)

    @property
    def targets(self) -> Iterator[tuple[str, str]]:
        """Kind in lower case, in the singular, and name; empty: of all."""
        words = [one for one in self.names if "=" not in one and not one.endswith("-")]
        if words and "/" not in words[0]:
            for kind in words[0].split(","):
                yield from ((singular(kind), name) for name in words[1:] or [""])
            return
        for kind, _, name in (one.partition("/") for one in words if "/" in one):
            yield singular(kind), name


def singular(kind: str) -> str:
    kind = SHORT.get(kind.lower(), kind.lower())
    return kind.removesuffix("s") if kind != "ingress" else kind


def commands_of(page: str) -> list[Command]:
    """Those in blocks and in lines. Raises ValueError for a flag that the command does not have."""
    return [parse(one[1]) for one in SHOWN.finditer(page)]


def parse(text: str) -> Command:
    words = list(takewhile(lambda word: not set(word) <= ENDS, words_of(text)))
    found = Command(f"kubectl {' '.join(words)}")
    if "--" in words:
        at = words.index("--")
        words, found.inside = words[:at], words[at + 1 :]
    if words[:1] == ["-n"]:
        found.namespace, words = words[1], words[2:]
    found.verb = next((name for name in COMMANDS if words[: len(name.split())] == name.split()), "")
    if not found.verb:
        raise ValueError(f"{found.text}: no command of the list")
    rest = iter(words[len(found.verb.split()) :])
    valued, bare = COMMANDS[found.verb]
    for word in rest:
        name, equal, value = word.partition("=")
        if not word.startswith("-"):
            found.names.append(word)
        elif name in bare:
            found.flags[name] = []
        elif name in valued:
            found.flags.setdefault(name, []).append(value if equal else next(rest))
        else:
            raise ValueError(f"{found.text}: {found.verb} has no {name}")
    return found


def words_of(text: str) -> Iterator[str]:
    """As a shell reads them, with what ends a command."""
    lexer = shlex.shlex(text.replace("\\\n", " "), posix=True, punctuation_chars="".join(ENDS))
    lexer.whitespace_split = True
    yield from lexer


def command_faults(command: Command, manifests: Sequence[Manifest]) -> Iterator[str]:
    """manifests: of all overlays."""
    if command.verb.split()[0] not in MAKERS:
        yield from target_faults(command, manifests)
    for selector in command.flags.get("-l", []):
        if not any(selects(selector, labels) for labels in all_labels(manifests)):
            yield f"{command.text}: nothing has the labels {selector}"
    if command.inside[:1] == ["obm"] and not is_of_cli(command.inside[1:]):
        yield f"{command.text}: obm has no such command"
    if command.verb == "port-forward":
        yield from port_faults(command, manifests)


def target_faults(command: Command, manifests: Sequence[Manifest]) -> Iterator[str]:
    kinds = {kind.lower(): kind for kind in MADE.union(one["kind"] for one in manifests)}
    for kind, name in command.targets:
        if "$" in kind + name:  # a variable of the shell
            continue
        if kind not in kinds:
            yield f"{command.text}: there is no {kind}"
        elif name and name not in names_of(kinds[kind], manifests):
            yield f"{command.text}: there is no {kind} {name}"
    if command.names and command.namespace != "obm":
        yield f"{command.text}: not in the namespace obm"


def names_of(kind: str, manifests: Sequence[Manifest]) -> set[str]:
    """Of a generated one also without its hash."""
    found = {one["metadata"]["name"] for one in of_kind(manifests, kind)}
    found |= {one.rpartition("-")[0] for one in found}
    made: dict[str, Iterable[str]] = {"Secret": DOCUMENTED, "ConfigMap": MADE_ON_CALL}
    return found.union(made.get(kind, ()))


def all_labels(manifests: Sequence[Manifest]) -> Iterator[dict[str, str]]:
    """Of manifests, of pods, and of the pods that operators make."""
    for one in manifests:
        yield labels_of(one)
    for workload in of_kind(manifests, *WITH_PODS):
        yield labels_of(pod_of(workload))
    for pool in of_kind(manifests, "KafkaNodePool"):
        cluster = labels_of(pool)["strimzi.io/cluster"]
        yield {"strimzi.io/cluster": cluster, "strimzi.io/pool-name": pool["metadata"]["name"]}
    for database in of_kind(manifests, "Cluster"):
        yield {"cnpg.io/cluster": database["metadata"]["name"]}


def selects(selector: str, labels: dict[str, str]) -> bool:
    terms = SELECTOR.findall(selector)
    return bool(terms) and all(
        labels.get(key) in ([value] if value else among.split(",")) for key, value, among in terms
    )


def is_of_cli(words: Sequence[str]) -> bool:
    """Whether they begin with a command of `obm`, which its arguments may follow."""
    command: Any = typer.main.get_command(app)
    for word in words:
        if not isinstance(command, TyperGroup):
            return True
        if (command := command.get_command(typer.Context(command), word)) is None:
            return False
    return not isinstance(command, TyperGroup)


def port_faults(command: Command, manifests: Sequence[Manifest]) -> Iterator[str]:
    [(_, name)] = command.targets
    port = int(command.names[-1].rpartition(":")[2])
    found = [one for one in of_kind(manifests, "Service") if one["metadata"]["name"] == name]
    if not any(port == each["port"] for one in found for each in one["spec"]["ports"]):
        yield f"{command.text}: {name} has no port {port}"
