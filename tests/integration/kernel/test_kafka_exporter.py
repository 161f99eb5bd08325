"""The metrics of Kafka that alerts and boards read, from a broker with the JMX exporter."""

from pathlib import Path
from time import monotonic, sleep
from urllib.request import urlopen

from prometheus_client.parser import text_string_to_metric_families

from tests.support.kafka_exporter import exported, exporting_kafka

Values = dict[str, list[tuple[dict[str, str], float]]]
ACTIVE_BROKERS = "kafka_controller_kafkacontroller_activebrokercount"


def scrape(port: int) -> Values:
    found: Values = {}
    with urlopen(f"http://127.0.0.1:{port}/metrics", timeout=30) as response:
        for family in text_string_to_metric_families(response.read().decode()):
            for sample in family.samples:
                found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def scrape_until_active(port: int) -> Values:
    deadline = monotonic() + 60
    while (found := scrape(port))[ACTIVE_BROKERS][0][1] != 1 and monotonic() < deadline:
        sleep(0.2)
    return found


def test_a_broker_shows_each_metric_that_the_rules_name(tmp_path: Path) -> None:
    with exporting_kafka(tmp_path / "kafka") as kafka:
        found = scrape_until_active(kafka.exporter_port)
    for name, labels in exported().items():
        assert name in found, name
        assert {frozenset(one) for one, _ in found[name]} == {frozenset(labels)}, name
    values = {name: samples[0][1] for name, samples in found.items()}
    assert values[ACTIVE_BROKERS] == 1
    assert values["kafka_controller_kafkacontroller_activecontrollercount"] == 1
    assert values["kafka_controller_kafkacontroller_offlinepartitionscount"] == 0
    assert values["kafka_server_replicamanager_underminisrpartitioncount"] == 0
    requests = {one["request"] for one, _ in found["kafka_network_requestmetrics_totaltimems"]}
    assert requests == {"Produce", "FetchConsumer"}
    shown = {name for name in found if name.startswith("kafka_")}
    assert shown == exported().keys()  # and no thousands of others
