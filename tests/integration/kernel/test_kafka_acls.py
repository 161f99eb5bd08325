"""ACLs on a broker with an authorizer: what a service may do, and what not."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka.errors import (
    ClusterAuthorizationFailedError,
    GroupAuthorizationFailedError,
    TopicAuthorizationFailedError,
)

from cli.acls import acls, contracts
from contracts.ingest.v1.events_pb2 import MessageAccepted
from contracts.router.v1.events_pb2 import MessageClosed
from contracts.shield.v1.events_pb2 import MessageScreened
from kernel.embedded.folder import Folder
from kernel.embedded.kafka import MECHANISM, USER, EmbeddedKafka
from kernel.kafka.rewind import rewind_groups
from kernel.kafka.topics import create_topics
from kernel.topics import contract_of
from tests.support.kafka_clients import config_of, options_of

NAMES = ("ingest", "shield", "router", "delivery", "events", "crm", "ops")
PREFIX = "eu."


class Authorized(EmbeddedKafka):
    """Each service has a user; only the installation's own may do everything."""

    def users(self) -> list[str]:
        return [*super().users(), *(f"{MECHANISM}=[name={one},password=of-{one}]" for one in NAMES)]

    def properties(self, data: Path) -> str:
        return super().properties(data) + (
            "authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer\n"
            f"super.users=User:{USER}\n"
        )


def settings_of(broker: EmbeddedKafka, name: str) -> dict[str, str]:
    return broker.client_settings | {
        "OBM_KAFKA_SASL_USERNAME": name,
        "OBM_KAFKA_SASL_PASSWORD": f"of-{name}",
    }


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EmbeddedKafka]:
    """With the topics of all services, each created by their own, and the rules of `obm acls`."""
    running = Authorized(Folder(tmp_path_factory.mktemp("kafka")))
    running.folder.open()
    try:
        running.start()
        with pytest.MonkeyPatch.context() as environment:
            for name, value in running.client_settings.items():
                environment.setenv(name, value)
            environment.setenv("OBM_KAFKA_TOPIC_PREFIX", PREFIX)
            acls(reader=["crm"], rewind=["ops"], principal="User:{}", apply=True)
        for service in NAMES[:-2]:
            own = {
                PREFIX + name: contract.topic
                for contract in contracts()
                for name in contract.names
                if name.startswith(f"{service}.")
            }
            config = config_of(settings_of(running, service))
            asyncio.run(create_topics(config, own, partitions_max=1))
        yield running
    finally:
        running.kill()
        running.folder.close()


async def write(kafka: dict[str, Any], topic: str) -> None:
    producer = AIOKafkaProducer(**kafka, enable_idempotence=True, acks="all")
    try:
        await producer.start()
        await producer.send_and_wait(topic, b"value")
    finally:
        await producer.stop()


async def read(kafka: dict[str, Any], topic: str, *, group: str) -> bytes:
    async with AIOKafkaConsumer(
        topic, **kafka, group_id=group, auto_offset_reset="earliest"
    ) as consumer:
        record = await consumer.getone()
        await consumer.commit()
        return bytes(record.value)


def topic_of(event: type[Any]) -> str:
    return PREFIX + contract_of(event.DESCRIPTOR).names[0]


ACCEPTED, SCREENED, CLOSED = map(topic_of, (MessageAccepted, MessageScreened, MessageClosed))


async def test_a_service_does_its_work(broker: EmbeddedKafka) -> None:
    shield, router = (options_of(settings_of(broker, one)) for one in ("shield", "router"))
    await write(shield, SCREENED)
    async with asyncio.timeout(240):
        assert await read(router, SCREENED, group=f"{PREFIX}router-screened") == b"value"
    await write(router, CLOSED)
    await write(router, SCREENED + ".dlq")  # what it cannot process


WRITES = {
    "router, to a topic of ingest": ("router", ACCEPTED),
    "router, to the directory": ("router", f"{PREFIX}ingest.tenants.v1"),
    "router, to a topic without the prefix": ("router", "router.message-closed.v1"),
    "delivery, to a topic of router": ("delivery", CLOSED),
    "an integrator, to what it reads": ("crm", CLOSED),
    "an integrator, to dead letters": ("crm", CLOSED + ".dlq"),
}


@pytest.mark.parametrize(("name", "topic"), WRITES.values(), ids=WRITES)
async def test_nobody_writes_anything_else(broker: EmbeddedKafka, name: str, topic: str) -> None:
    async with asyncio.timeout(240):
        with pytest.raises((TopicAuthorizationFailedError, ClusterAuthorizationFailedError)):
            await write(options_of(settings_of(broker, name)), topic)


async def test_an_integrator_reads_events_and_no_directory(broker: EmbeddedKafka) -> None:
    crm = options_of(settings_of(broker, "crm"))
    await write(options_of(settings_of(broker, "router")), CLOSED)
    async with asyncio.timeout(240):
        assert await read(crm, CLOSED, group="crm-1") == b"value"
        with pytest.raises(TopicAuthorizationFailedError):
            await read(crm, f"{PREFIX}ingest.tenants.v1", group="crm-1")
        with pytest.raises(GroupAuthorizationFailedError):
            await read(crm, CLOSED, group=f"{PREFIX}router-attempted")


async def test_who_rewinds_sets_back_groups_of_services_and_writes_nothing(
    broker: EmbeddedKafka,
) -> None:
    shield, router = (options_of(settings_of(broker, one)) for one in ("shield", "router"))
    group = f"{PREFIX}router-rewound"
    async with asyncio.timeout(240):
        await write(shield, SCREENED)
        await read(router, SCREENED, group=group)
        ops = config_of(settings_of(broker, "ops"))
        assert (await rewind_groups(ops, (group,), to_ms=0))[group] >= 1
        with pytest.raises((TopicAuthorizationFailedError, ClusterAuthorizationFailedError)):
            await write(options_of(settings_of(broker, "ops")), SCREENED)
