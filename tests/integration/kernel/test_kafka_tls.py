"""Kafka by TLS: the brokers are verified, and know the services by their certificate."""

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from contracts.delivery.v1.events_pb2 import BounceReceived
from contracts.ingest.v1.directory_pb2 import Tenant
from kernel import clock
from kernel.errors import ConfigError, Unavailable
from kernel.handler_result import Drop, HandlerResult
from kernel.health import DependencyHealth
from kernel.kafka import Kafka
from kernel.kafka.brokers import Brokers, BrokerTls
from kernel.processor import StreamProcessor
from kernel.table import ReplicatedTable
from kernel.topics import encode
from tests.support.authority import Certified
from tests.support.secured_kafka import client_files, secured_kafka, write_authority

ROOT = Certified.root("the brokers' authority")


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with secured_kafka(tmp_path_factory.mktemp("secured") / "kafka", ROOT) as address:
        yield address


def brokers(address: str, folder: Path, *, name: str, authority: Certified = ROOT) -> Brokers:
    trusted = write_authority(folder / "ca.crt", authority)
    return Brokers(address, BrokerTls(trusted, client_files(folder, name, ROOT)))


async def test_topics_are_made_written_and_read_by_tls(address: str, tmp_path: Path) -> None:
    kafka = Kafka(
        brokers(address, tmp_path, name="obm"), DependencyHealth(), prefix="a.", secret_keys=["key"]
    )
    table = ReplicatedTable(Tenant, kafka)
    bounced: list[str] = []

    async def on_bounced(batch: Sequence[BounceReceived]) -> list[HandlerResult]:
        bounced.extend(one.message_id for one in batch)
        return [Drop("seen")] * len(batch)

    stream = StreamProcessor(
        BounceReceived,
        name="a.bounced",
        handler=on_bounced,
        health=DependencyHealth(),
        send=kafka.publish,
    )
    kafka.consume(stream, group="bounced")
    running = asyncio.create_task(kafka.run())
    try:
        async with asyncio.timeout(120):
            await table.replayed.wait()
            tenant = Tenant(tenant_id="01900000-0000-7000-8000-000000000001", version=1)
            bounce = BounceReceived(message_id="01900000-0000-7000-8000-000000000002")
            await kafka.publish([encode(one, clock.now(), None) for one in (tenant, bounce)])
            while table.get(tenant.tenant_id) is None or not bounced:
                await asyncio.sleep(0.05)
            while not await kafka.has_consumed("bounced", BounceReceived, before=clock.now()):
                await asyncio.sleep(0.05)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        await kafka.close()
    assert set(bounced) == {bounce.message_id}


async def test_a_client_that_acls_do_not_name_can_make_nothing(
    address: str, tmp_path: Path
) -> None:
    kafka = Kafka(brokers(address, tmp_path, name="stranger"), DependencyHealth(), prefix="b.")
    kafka.declare(Tenant)
    with pytest.raises(Unavailable):
        await kafka.create_topics()
    await kafka.close()


async def test_brokers_of_another_authority_are_refused(address: str, tmp_path: Path) -> None:
    other = brokers(address, tmp_path, name="obm", authority=Certified.root("another"))
    kafka = Kafka(other, DependencyHealth(), prefix="c.")
    kafka.declare(Tenant)
    with pytest.raises(Unavailable):
        await kafka.create_topics()
    await kafka.close()


async def test_a_certificate_that_changes_is_used_for_new_connections(
    address: str, tmp_path: Path
) -> None:
    found = brokers(address, tmp_path, name="stranger")
    kafka = Kafka(found, DependencyHealth(), prefix="d.")
    kafka.declare(Tenant)
    with pytest.raises(Unavailable):
        await kafka.create_topics()
    client_files(tmp_path, "obm", ROOT)
    found.reload()
    await kafka.create_topics()
    (tmp_path / "user.crt").write_text("half writ")
    found.reload()  # the one before stays
    await kafka.create_topics()
    await kafka.close()


def test_files_that_are_missing_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"ca\.crt"):
        BrokerTls(tmp_path / "ca.crt")
