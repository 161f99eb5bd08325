"""A consumer of a partition without a leader."""

from itertools import pairwise
from time import monotonic
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.client import AIOKafkaClient

from kernel.kafka.coordination import patch_consumers
from tests.support.kafka_clients import options
from tests.support.polling import until


async def test_the_leader_of_a_partition_is_requested_with_pauses(
    bootstrap_servers: str, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    patch_consumers()
    update, requested_at_s = AIOKafkaClient._metadata_update, list[float]()

    async def request(client: Any, *of: Any) -> Any:  # noqa: ANN401 - aiokafka has no types
        requested_at_s.append(monotonic())
        return await update(client, *of)

    consumer = AIOKafkaConsumer(**options(bootstrap_servers), retry_backoff_ms=50)
    await consumer.start()
    try:
        monkeypatch.setattr(AIOKafkaClient, "_metadata_update", request)
        consumer.assign([TopicPartition(f"{topic_prefix}missing", 0)])
        await until(lambda: len(requested_at_s) > 20)
    finally:
        await consumer.stop()
    # The first two hear of the topic, and that it has no leader.
    assert all(later - earlier > 0.04 for earlier, later in pairwise(requested_at_s[2:]))
