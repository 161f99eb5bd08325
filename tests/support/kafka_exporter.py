"""The Prometheus JMX exporter in a broker, with the rules of deploy/k8s."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from kernel.embedded.folder import Folder
from kernel.embedded.jars import Jar, cache_folder, ensure_jar
from kernel.embedded.kafka import EmbeddedKafka

RULES = Path(__file__).parents[2] / "deploy/k8s/components/strimzi/exporter.yaml"
EXPORTER = Jar(
    "io.prometheus.jmx",
    "jmx_prometheus_javaagent",
    "1.0.1",
    "7d61f737fd661610ccc14aea79764faa1ea94a340cbc8f0029b3d2edea3d80c1",
)
CHOICE = re.compile(r"\(([\w|]+)\)")
EXCLUDED = "metrics.jmx.exclude=.*\n"


def exported() -> dict[str, set[str]]:
    """Names of the metrics that the rules make, with the labels that they have."""
    document: dict[str, Any] = yaml.safe_load(RULES.read_text())
    assert document["lowercaseOutputName"]
    found: dict[str, set[str]] = {}
    for rule in document["rules"]:
        choices = [one.split("|") for one in CHOICE.findall(rule["pattern"])]
        for chosen in product(*choices):
            name = rule["name"].replace("$1", chosen[0]).lower()
            found[name] = set(rule.get("labels", {}))
    return found


class ExportingKafka(EmbeddedKafka):
    exporter_port: int

    def properties(self, data: Path) -> str:
        text = super().properties(data)
        assert EXCLUDED in text
        return text.replace(EXCLUDED, "")

    def command(self) -> list[str]:
        jar = ensure_jar(EXPORTER, cache_folder() / "jars")
        agent = f"-javaagent:{jar}=127.0.0.1:{self.exporter_port}:{RULES}"
        java, *others = super().command()
        return [java, agent, *others]

    def aot_options(self) -> list[str]:
        return []  # made without an agent


@contextmanager
def exporting_kafka(path: Path) -> Iterator[ExportingKafka]:
    path.mkdir()
    folder = Folder(path)
    folder.open()
    kafka = ExportingKafka(folder)
    kafka.exporter_port = folder.port("exporter", 0)
    try:
        kafka.start()
        yield kafka
    finally:
        kafka.kill()
        folder.close()
