"""The consume loop on real Kafka and PostgreSQL, with a consumer that closes every message."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from uuid import uuid4

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.cluster import ClusterMetadata
from aiokafka.conn import AIOKafkaConnection
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.protocol.metadata import MetadataRequest

from contracts.ingest.v1.directory_pb2 import Tenant
from contracts.ingest.v1.events_pb2 import PRIORITY_BULK, PRIORITY_EXPRESS
from contracts.kernel.v1.outbox_pb2 import Outgoing
from contracts.router.v1.events_pb2 import MessageClosed
from contracts.shield.v1.events_pb2 import MessageScreened
from kernel import clock, metrics
from kernel.errors import Unavailable
from kernel.handler_result import Drop, HandlerResult
from kernel.health import DependencyHealth
from kernel.kafka import Kafka
from kernel.kafka.consumer import BULK_SHARE
from kernel.kafka.producer import BatchingProducer
from kernel.processor import StreamProcessor
from kernel.table import ReplicatedTable
from kernel.topics import DLQ_SUFFIX, contract_of, encode
from tests.support.closer import CLOSED, EXPRESS, Bench, screened
from tests.support.kafka_clients import client_config


class CrashesBeforePublish(Kafka):
    """Hangs after the commit of an event's rows, before the event is published."""

    def __init__(self, bootstrap_servers: str, prefix: str) -> None:
        super().__init__(
            client_config(bootstrap_servers),
            DependencyHealth(),
            prefix=prefix,
            shutdown_timeout_s=0.1,
        )
        self.committed = asyncio.Event()

    async def publish(self, records: Sequence[Outgoing]) -> None:
        if any(record.topic == CLOSED for record in records):
            self.committed.set()
            await asyncio.Event().wait()
        await super().publish(records)


@pytest.fixture
def bench(bootstrap_servers: str, database_url: str) -> Bench:
    return Bench(bootstrap_servers, database_url)


async def test_records_sent_before_the_first_join_are_consumed(bench: Bench) -> None:
    await bench.topics()
    events = [screened() for _ in range(20)]
    await bench.produce(*events)
    async with bench.consumer():
        await bench.all_processed()
    assert await bench.closed() == sorted(event.message_id for event in events)


async def test_several_servers_may_be_named_of_which_one_is_away(bench: Bench) -> None:
    await bench.topics()
    event = screened()
    await bench.produce(event)
    servers = f"127.0.0.1:1,{bench.bootstrap_servers}"
    kafka = Kafka(client_config(servers), DependencyHealth(), prefix=bench.prefix)
    async with bench.consumer(kafka):
        await bench.all_processed()
    assert await bench.closed() == [event.message_id]


async def test_what_else_is_on_the_broker_is_not_looked_at(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A broker may be shared, and to read about thousands of topics takes long."""
    real, named = AIOKafkaConnection.send, list[list[str] | None]()

    def send(connection: Any, request: Any, **options: Any) -> Any:  # noqa: ANN401 - aiokafka's
        if isinstance(request, MetadataRequest):
            named.append(request._topics)
        return real(connection, request, **options)

    monkeypatch.setattr(AIOKafkaConnection, "send", send)
    await bench.topics()
    await bench.topics()  # they exist
    assert None not in named
    assert {one for some in named for one in some or ()} == {
        bench.prefix + name + suffix
        for event in (MessageScreened, MessageClosed, Tenant)
        for name in contract_of(event.DESCRIPTOR).names
        for suffix in ("", DLQ_SUFFIX)
    }


async def test_topics_are_not_created_with_fewer_replicas_than_they_shall_have(
    bench: Bench,
) -> None:
    """As while a broker is away, at the first start of an installation."""
    kafka = Kafka(
        client_config(bench.bootstrap_servers), DependencyHealth(), prefix=bench.prefix, replicas=3
    )
    kafka.declare(MessageClosed)
    with pytest.raises(Unavailable):
        await kafka.create_topics()


async def test_records_that_are_consumed_again_change_and_publish_nothing(bench: Bench) -> None:
    await bench.topics()
    events = [screened() for _ in range(20)]
    await bench.produce(*events)
    async with bench.consumer():
        await bench.all_processed()
    async with bench.offsets(EXPRESS) as consumer:
        await consumer.commit(dict.fromkeys(consumer.assignment(), 0))
    async with bench.consumer() as outbox:
        await bench.all_processed()
        await outbox.sweep()
        assert await outbox.backlog() == (0, 0.0)
    assert len(await bench.closed()) == 20
    assert sum(map(len, bench.closer.batches)) == 40


async def test_events_of_a_crash_between_commit_and_publish_are_swept(bench: Bench) -> None:
    await bench.topics()
    event = screened()
    crashing = CrashesBeforePublish(bench.bootstrap_servers, bench.prefix)
    await bench.produce(event)
    async with bench.consumer(crashing):
        await crashing.committed.wait()
    assert await bench.closed() == []
    async with bench.consumer() as outbox:
        while not await bench.closed():
            await outbox.sweep()
            await asyncio.sleep(0.05)
        await bench.all_processed()
    assert await bench.closed() == [event.message_id]


async def test_a_poison_record_is_dead_lettered_and_the_others_are_processed(bench: Bench) -> None:
    await bench.topics()
    one, two = screened(), screened()
    poison = MessageScreened(message_id=f"no uuid {uuid4()}")
    await bench.produce(one, poison, b"\xff", two)
    async with bench.consumer():
        await bench.all_processed()
    assert await bench.closed() == sorted([one.message_id, two.message_id])
    dead_letter = await bench.records_on(EXPRESS + DLQ_SUFFIX)
    why = {record.value: dict(record.headers)["dlq_reason"] for record in dead_letter}
    assert why == {poison.SerializeToString(): b"handler failed", b"\xff": b"undecodable"}


async def test_headers_that_are_not_text_harm_nothing(bench: Bench) -> None:
    await bench.topics()
    event = screened()
    await bench.produce(event, b"\xff", headers=[("origin", b"\xff\xfe"), ("empty", None)])
    async with bench.consumer():
        await bench.all_processed()
    assert await bench.closed() == [event.message_id]
    [dead] = await bench.records_on(EXPRESS + DLQ_SUFFIX)
    assert dict(dead.headers)["origin"] == b"\xff\xfe"


async def test_a_bulk_backlog_does_not_delay_an_express_message(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kernel.kafka.consumer.GIVE_WAY_MAX_S", 60.0)  # the machine may be busy
    await bench.topics()
    await bench.produce(*(screened(PRIORITY_BULK) for _ in range(3000)))
    await bench.produce(*(screened() for _ in range(9000)))
    async with bench.consumer():
        await bench.all_processed()
    batches = bench.closer.batches
    assert sum(map(len, batches)) == 12000
    first = [batch[0] for batch in batches]  # a batch is of one priority
    last_express = len(first) - first[::-1].index(PRIORITY_EXPRESS)
    bulk_before = first[:last_express].count(PRIORITY_BULK)
    # A tenth, the first, and one at a moment when what was fetched of express is processed.
    assert 0 < bulk_before <= (last_express - bulk_before) / (BULK_SHARE - 1) + 2


async def test_an_unassigned_partition_is_assigned_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """When topics reappear during a rebalance, aiokafka can leave everything unassigned."""
    monkeypatch.setattr("kernel.kafka.HEARTBEAT_INTERVAL_S", 0.3)
    real = RoundRobinPartitionAssignor.assign
    gone = ClusterMetadata()
    clusters = [gone]

    def assign(cluster: ClusterMetadata, members: Any) -> Any:  # noqa: ANN401 - aiokafka's own
        return real(clusters.pop() if clusters else cluster, members)

    monkeypatch.setattr(RoundRobinPartitionAssignor, "assign", assign)

    await bench.topics()
    await bench.produce(*(screened() for _ in range(20)))
    async with bench.consumer():
        await bench.all_processed()
    assert not clusters
    assert len(await bench.closed()) == 20


async def test_a_consumer_stopped_while_joining_leaves_no_member_in_the_group(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A leaked member would keep its partitions until its session timeout."""
    started = asyncio.Event()
    real = AIOKafkaConsumer.start

    async def start(self: AIOKafkaConsumer) -> None:
        started.set()
        await real(self)

    await bench.topics()
    with monkeypatch.context() as patched:
        patched.setattr(AIOKafkaConsumer, "start", start)
        async with bench.consumer():
            await started.wait()
    assert await bench.members() == []


def directory(bench: Bench, secret_keys: Sequence[str]) -> Kafka:
    return Kafka(
        client_config(bench.bootstrap_servers),
        DependencyHealth(),
        prefix=bench.prefix,
        secret_keys=secret_keys,
    )


async def test_a_table_is_replayed_and_then_receives_new_records(bench: Bench) -> None:
    await bench.topics()
    kafka = directory(bench, ["key"])
    await kafka.publish([encode(Tenant(tenant_id="a", version=1, name="one"), clock.now())])
    tenants = ReplicatedTable(Tenant, kafka)
    running = asyncio.create_task(kafka.run())
    await tenants.replayed.wait()
    assert (found := tenants.get("a")) is not None
    assert found.name == "one"
    await kafka.publish([encode(Tenant(tenant_id="a", version=2, deleted=True), clock.now())])
    await kafka.publish([encode(Tenant(tenant_id="b", version=1), clock.now())])
    assert set(await tenants.wait_for(["a", "b"])) == {"b"}
    running.cancel()
    with suppress(asyncio.CancelledError):
        await running
    await kafka.close()


async def test_a_partition_without_a_leader_delays_no_other(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As when the only broker with replicas of a partition is unavailable."""
    real = ClusterMetadata.leader_for_partition
    lost: set[str] = set()

    def leader(cluster: ClusterMetadata, tp: TopicPartition) -> Any:  # noqa: ANN401 - aiokafka's
        return -1 if tp.topic in lost else real(cluster, tp)

    monkeypatch.setattr(ClusterMetadata, "leader_for_partition", leader)

    await bench.topics()
    kafka = Kafka(client_config(bench.bootstrap_servers), DependencyHealth(), prefix=bench.prefix)
    lost.add(bench.prefix + EXPRESS)
    event = screened()
    stuck = asyncio.create_task(kafka.publish([encode(event, clock.now())]))
    await asyncio.sleep(0)
    for _ in range(3):
        await kafka.publish([encode(MessageClosed(message_id=event.message_id), clock.now())])
    assert not stuck.done()
    lost.clear()
    await stuck
    [record] = await bench.records_on(EXPRESS)
    assert record.value == event.SerializeToString()
    await kafka.close()


async def test_a_metadata_request_ends_if_its_producer_is_replaced_meanwhile(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The heartbeat makes such requests, and without it topics and partitions stay lost."""
    monkeypatch.setattr("kernel.kafka.producer.REQUEST_TIMEOUT_S", 1.0)

    await bench.topics()
    producer = BatchingProducer(client_config(bench.bootstrap_servers), "obm", bench.prefix)
    await producer.start()
    requested = asyncio.create_task(producer.cluster([bench.prefix + EXPRESS]))
    await asyncio.sleep(0)  # it waits for the response
    assert producer.client is not None
    await producer.client.close()
    async with asyncio.timeout(30):
        assert await requested is None
    await producer.close()


async def test_entries_that_no_holder_of_a_key_signed_are_ignored_and_reported(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    """By a table and by a stream; keys rotate, and any of the ring verifies."""
    await bench.topics()
    reader = directory(bench, ["new", "old"])
    tenants, seen = ReplicatedTable(Tenant, reader), list[str]()

    async def on_tenants(batch: Sequence[Tenant]) -> Sequence[HandlerResult]:
        seen.extend(one.tenant_id for one in batch)
        return [Drop("seen")] * len(batch)

    stream = StreamProcessor(
        Tenant, name="test.tenants", handler=on_tenants, health=reader.health, send=reader.publish
    )
    reader.consume(stream, group="tenants")
    before = rejected()
    for tenant_id, keys in {"forged": ["guessed"], "unsigned": [], "a": ["old"]}.items():
        writer = directory(bench, keys)
        await writer.publish([encode(Tenant(tenant_id=tenant_id, version=1), clock.now())])
        await writer.close()
    running = asyncio.create_task(reader.run())
    await tenants.replayed.wait()
    await reader.publish([encode(Tenant(tenant_id="b", version=1), clock.now())])
    assert set(await tenants.wait_for(["a", "b"], within_s=240)) == {"a", "b"}
    assert {one.tenant_id for one in tenants.values()} == {"a", "b"}
    async with asyncio.timeout(240):
        while len(seen) < 2:
            await asyncio.sleep(0.05)
    assert sorted(seen) == ["a", "b"]
    assert rejected() - before == 4  # two, twice
    [logged] = [one for one in caplog.records if one.msg == "directory.record_not_authentic"]
    assert (vars(logged)["topic"], vars(logged)["key"]) == ("ingest.tenants.v1", "forged")
    running.cancel()
    await asyncio.wait([running])
    await reader.close()


def rejected() -> float:
    return (
        metrics.registry.get_sample_value(
            "obm_directory_records_rejected_total", {"topic": "ingest.tenants.v1"}
        )
        or 0.0
    )
