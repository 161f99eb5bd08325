"""Kafka with passwords and TLS: who gets in, and who does not."""

import asyncio
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from contracts.ingest.v1.directory_pb2 import Tenant
from kernel import clock
from kernel.embedded.folder import Folder
from kernel.embedded.kafka import EmbeddedKafka
from kernel.errors import EmbeddedError, Unavailable
from kernel.health import DependencyHealth
from kernel.ids import uuid7_text
from kernel.kafka import Kafka
from kernel.kafka.brokers import Brokers
from kernel.kafka_settings import KafkaSettings
from kernel.table import ReplicatedTable
from kernel.topics import encode
from tests.support.kafka_clients import options_of
from tests.support.tls import certificate_files


@contextmanager
def started(broker: EmbeddedKafka) -> Iterator[EmbeddedKafka]:
    broker.folder.open()
    try:
        broker.start()
        yield broker
    finally:
        broker.kill()
        broker.folder.close()


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    with started(EmbeddedKafka(Folder(tmp_path_factory.mktemp("kafka")))) as running:
        yield running


async def use(settings: Mapping[str, str], prefix: str) -> Tenant | None:
    """Create a topic, publish an entry and replay it: with each kind of client of the engine."""
    kafka = Kafka(
        Brokers.from_settings(KafkaSettings.model_validate(settings)),
        DependencyHealth(),
        prefix=prefix,
        secret_keys=["key"],
    )
    table = ReplicatedTable(Tenant, kafka)
    tenant = Tenant(tenant_id=uuid7_text(), version=1)
    try:
        await kafka.create_topics()
        await kafka.publish([encode(tenant, clock.now())])
        running = asyncio.create_task(kafka.run())
        await table.replayed.wait()
        running.cancel()
        await asyncio.wait([running])
        assert await kafka.end_offsets(Tenant) == [1]
        return table.get(tenant.tenant_id)
    finally:
        await kafka.close()


async def test_the_engine_works_with_the_password(broker: EmbeddedKafka) -> None:
    assert await use(broker.client_settings, "own.")


WITHOUT = {
    "no password": {
        "OBM_KAFKA_SASL_USERNAME": "",
        "OBM_KAFKA_SASL_PASSWORD": "",
    },
    "another password": {"OBM_KAFKA_SASL_PASSWORD": "guessed"},
    "another user": {"OBM_KAFKA_SASL_USERNAME": "root"},
    "another mechanism": {"OBM_KAFKA_SASL_MECHANISM": "PLAIN"},
}


@pytest.mark.parametrize("different", WITHOUT.values(), ids=WITHOUT)
async def test_nobody_gets_in_without_it(broker: EmbeddedKafka, different: dict[str, str]) -> None:
    settings = broker.client_settings | different
    controller = f"127.0.0.1:{broker.folder.recall('port.controller')[0]}"  # type: ignore[index]
    for address in (broker.bootstrap_servers, controller):
        given = options_of(settings | {"OBM_KAFKA_BOOTSTRAP_SERVERS": address})
        admin = AIOKafkaAdminClient(**given, request_timeout_ms=1_000)
        with pytest.raises(KafkaError):
            await admin.start()
        await admin.close()
        consumer = AIOKafkaConsumer(**given, request_timeout_ms=1_000)
        with pytest.raises(KafkaError):
            await consumer.start()
        await consumer.stop()


async def test_a_wrong_password_is_kafka_being_unavailable(broker: EmbeddedKafka) -> None:
    with pytest.raises(Unavailable):
        await use(broker.client_settings | {"OBM_KAFKA_SASL_PASSWORD": "guessed"}, "own.")


def test_only_the_owner_of_the_installation_reads_the_password(broker: EmbeddedKafka) -> None:
    password = broker.client_settings["OBM_KAFKA_SASL_PASSWORD"]
    assert len(password) >= 32
    with_it = [
        path
        for path in broker.folder.path.rglob("*")
        if path.is_file() and password.encode() in path.read_bytes()
    ]
    assert {path.name for path in with_it} == {"kafka.password", "kafka.properties"}
    assert {path.stat().st_mode & 0o777 for path in with_it} == {0o600}
    arguments = subprocess.run(
        ["ps", "-ww", "-o", "args=", "-p", str(broker.pid)],
        capture_output=True,
        check=True,
        text=True,
    ).stdout
    assert "kafka.properties" in arguments
    assert password not in arguments


def test_a_lost_password_is_a_one_line_error(tmp_path: Path) -> None:
    (tmp_path / "kafka").mkdir()
    with (
        pytest.raises(EmbeddedError, match=r"kafka\.password is missing"),
        started(EmbeddedKafka(Folder(tmp_path))),
    ):
        pass


class Encrypted(EmbeddedKafka):
    """Clients connect by TLS, show a certificate, and give a password."""

    def properties(self, data: Path) -> str:
        store, trusted = data.parent / "server.pem", data.parent / "clients.pem"
        return super().properties(data).replace("BROKER:SASL_PLAINTEXT", "BROKER:SASL_SSL") + (
            f"ssl.keystore.type=PEM\nssl.keystore.location={store}\n"
            f"ssl.truststore.type=PEM\nssl.truststore.location={trusted}\n"
            "listener.name.broker.ssl.client.auth=required\n"
        )


def test_tls_with_certificates_of_both_sides_and_a_password(tmp_path: Path) -> None:
    server = certificate_files(tmp_path / "server", "127.0.0.1")
    client = certificate_files(tmp_path / "client", "router")
    data = tmp_path / "data"
    data.mkdir()
    (data / "server.pem").write_text(server.key.read_text() + server.certificate.read_text())
    trusted = client.certificate.read_text() + server.certificate.read_text()  # and its own
    (data / "clients.pem").write_text(trusted)
    with started(Encrypted(Folder(data))) as broker:
        checked = broker.client_settings | {
            "OBM_KAFKA_CA_FILE": str(server.certificate),
        }
        complete = checked | {
            "OBM_KAFKA_CERTIFICATE": str(client.certificate),
            "OBM_KAFKA_KEY": str(client.key),
        }
        assert asyncio.run(use(complete, "tls."))
        for wrong in (checked, complete | {"OBM_KAFKA_CA_FILE": str(client.certificate)}):
            with pytest.raises(Unavailable):
                asyncio.run(use(wrong, "tls."))
