"""A consumer that has stopped fetching is replaced, on a real broker."""

import asyncio

import pytest

from kernel.health import DependencyHealth
from kernel.kafka import Kafka
from tests.support.closer import Bench, screened
from tests.support.kafka_clients import client_config


async def test_partitions_that_nobody_reads_get_a_new_consumer(
    bootstrap_servers: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kernel.kafka.HEARTBEAT_INTERVAL_S", 0.3)
    monkeypatch.setattr("kernel.kafka.consumer.UNREAD_MS", 6_000)  # bulk's requests wait for 5 s
    bench = Bench(bootstrap_servers, database_url)
    await bench.topics()
    kafka = Kafka(client_config(bootstrap_servers), DependencyHealth(), prefix=bench.prefix)
    before, after = screened(), screened()

    async with bench.consumer(kafka):
        await bench.produce(before)
        await bench.all_processed()
        stopped = [worker.find_consumer() for worker in kafka._workers]
        for consumer in stopped:
            assert consumer is not None
            for task in (consumer._fetcher._fetch_task, *consumer._fetcher._pending_tasks):
                task.cancel()
        await bench.produce(after)
        while len(await bench.closed()) < 2:
            await asyncio.sleep(0.05)
        assert not {*stopped} & {worker.find_consumer() for worker in kafka._workers}

    assert await bench.closed() == sorted([before.message_id, after.message_id])
