"""What consumers do while nothing happens."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from aiokafka.conn import AIOKafkaConnection

from contracts.ingest.v1.directory_pb2 import Account, Brand, Tenant
from kernel import clock
from kernel.health import DependencyHealth
from kernel.kafka import Kafka
from kernel.table import ReplicatedTable
from kernel.topics import encode
from tests.support.closer import Bench, screened
from tests.support.kafka_clients import client_config

IDLE_S = 2.0
POLLS_MAX = 5  # of a consumer, meanwhile


async def test_idle_consumers_wait_for_records_and_do_not_poll(
    bootstrap_servers: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, polls = AIOKafkaConsumer.getmany, Counter[int]()

    async def getmany(consumer: Any, *partitions: Any, **options: Any) -> Any:  # noqa: ANN401
        polls[id(consumer)] += 1
        return await real(consumer, *partitions, **options)

    monkeypatch.setattr(AIOKafkaConsumer, "getmany", getmany)
    bench = Bench(bootstrap_servers, database_url)
    await bench.topics()
    async with bench.consumer():
        await bench.produce(screened())
        await bench.all_processed()
        polls.clear()
        await asyncio.sleep(IDLE_S)
        assert max(polls.values(), default=0) <= POLLS_MAX
        late = screened()
        await bench.produce(late)
        await bench.all_processed()
    assert late.message_id in await bench.closed()


async def test_idle_services_send_the_broker_few_requests(
    bootstrap_servers: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All tables are read by one consumer, whose requests wait for long, and what is committed is
    not committed again."""
    real, requests = AIOKafkaConnection.send, Counter[str]()

    def send(connection: Any, request: Any, *given: Any, **options: Any) -> Any:  # noqa: ANN401
        requests[type(request).__name__.partition("_")[0]] += 1
        return real(connection, request, *given, **options)

    bench = Bench(bootstrap_servers, database_url)
    await bench.topics()
    kafka = Kafka(
        client_config(bootstrap_servers), DependencyHealth(), prefix=bench.prefix, secret_keys=["k"]
    )
    tables = [ReplicatedTable(kind, kafka) for kind in (Account, Brand, Tenant)]
    async with bench.consumer(kafka):
        await bench.produce(screened())
        await bench.all_processed()
        await asyncio.gather(*(table.replayed.wait() for table in tables))
        await asyncio.sleep(1.5)  # until all is committed
        monkeypatch.setattr(AIOKafkaConnection, "send", send)
        await asyncio.sleep(IDLE_S)
        assert requests["FetchRequest"] <= 6  # four of the consumer of express mail
        assert requests["OffsetCommitRequest"] == 0
        await kafka.publish([encode(Tenant(tenant_id="t", version=1), clock.now())])
        await asyncio.sleep(0.5)
        assert tables[2].get("t") is not None  # the request ended with it
        late = screened()
        await bench.produce(late)
        await bench.all_processed()
    assert late.message_id in await bench.closed()
