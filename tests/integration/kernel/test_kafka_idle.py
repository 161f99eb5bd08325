"""What consumers do while nothing happens."""

import asyncio
from collections import Counter
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer

from tests.support.closer import Bench, screened

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
