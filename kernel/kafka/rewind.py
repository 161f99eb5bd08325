"""Sets consumer groups back to a time, so that they read what was published since once more."""

from collections.abc import Mapping

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import CommitFailedError
from aiokafka.structs import OffsetAndMetadata

from kernel.errors import ConfigError
from kernel.kafka.brokers import Brokers
from kernel.kafka.partitions import admin_client


async def rewind_groups(
    brokers: Brokers, prefixes: tuple[str, ...], *, to_ms: int
) -> dict[str, int]:
    """Set the groups whose names begin with one of the prefixes to the first records since to_ms,
    Unix time. None goes forward. Returns how many records each group reads again.

    Raises Unavailable, and ConfigError if a group has members: they would not notice.
    """
    async with admin_client(brokers) as admin:
        names = sorted(name for name, *_ in await admin.list_consumer_groups())
        chosen = [name for name in names if name.startswith(prefixes)]
        committed = {name: await admin.list_consumer_group_offsets(name) for name in chosen}
        return {
            name: await _rewind(brokers, name, offsets, to_ms=to_ms)
            for name, offsets in committed.items()
        }


async def _rewind(
    brokers: Brokers,
    group: str,
    committed: Mapping[TopicPartition, OffsetAndMetadata],
    *,
    to_ms: int,
) -> int:
    consumer = AIOKafkaConsumer(**brokers.options(), group_id=group, enable_auto_commit=False)
    async with consumer:
        consumer.assign(list(committed))
        first = await consumer.offsets_for_times(dict.fromkeys(committed, to_ms))
        earlier = {
            tp: found.offset
            for tp, found in first.items()
            if found is not None and found.offset < committed[tp].offset
        }
        if earlier:
            try:
                await consumer.commit(earlier)
            except CommitFailedError as error:
                raise ConfigError(f"The group {group} is in use. Stop all services.") from error
    return sum(committed[tp].offset - offset for tp, offset in earlier.items())
