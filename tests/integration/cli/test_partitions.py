"""`obm partitions` on a broker whose topics are in use."""

import asyncio

import pytest
from aiokafka import AIOKafkaProducer
from typer.testing import CliRunner, Result

from cli.main import app
from contracts.ingest.v1.directory_pb2 import Tenant
from kernel.kafka.partitions import count_partitions
from kernel.topics import contract_of
from tests.support.closer import BULK, CLOSED, EXPRESS, Bench, screened
from tests.support.kafka_clients import client_config, client_settings, options

LAST = 14


def obm_partitions(bench: Bench, *arguments: str) -> Result:
    environment = client_settings(bench.bootstrap_servers)
    environment["OBM_KAFKA_TOPIC_PREFIX"] = bench.prefix
    return CliRunner().invoke(app, ["partitions", *arguments], env=environment)


async def test_partitions_added_under_load_are_written_and_consumed(
    bootstrap_servers: str, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kernel.kafka.HEARTBEAT_INTERVAL_S", 0.3)
    bench = Bench(bootstrap_servers, database_url)
    await bench.topics()
    before, after = screened(), screened()

    async with bench.consumer():
        await bench.produce(before)
        grown = await asyncio.to_thread(obm_partitions, bench, "--grow", str(LAST + 1))
        # Its group learns of the partition only after a record is in it: it must not begin behind.
        async with AIOKafkaProducer(**options(bootstrap_servers)) as producer:
            topic, value = bench.prefix + EXPRESS, after.SerializeToString()
            while LAST not in await producer.partitions_for(topic):
                await producer.client.force_metadata_update()
            await producer.send_and_wait(topic, value, partition=LAST)
        while len(await bench.closed()) < 2:
            await asyncio.sleep(0.05)

    assert "3 topics have 15 partitions now" in grown.output
    assert await bench.closed() == sorted([before.message_id, after.message_id])
    counts = await count_partitions(
        client_config(bootstrap_servers),
        [bench.prefix + name for name in (EXPRESS, BULK, CLOSED, TENANTS)],
    )
    assert sorted(counts.values()) == [1, 15, 15, 15]
    again = await asyncio.to_thread(obm_partitions, bench, "--grow", "13")
    assert "0 topics have 13 partitions now" in again.output
    assert f"{bench.prefix}{CLOSED} " in (await asyncio.to_thread(obm_partitions, bench)).output


TENANTS = contract_of(Tenant.DESCRIPTOR).topic.name


def test_topics_that_do_not_exist_yet_are_reported(
    bootstrap_servers: str, database_url: str
) -> None:
    result = obm_partitions(Bench(bootstrap_servers, database_url))

    assert "services create them" in str(result.exception)
