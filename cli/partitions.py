"""`obm partitions`: how many partitions the topics have, and more of them."""

import asyncio
from typing import Annotated

import typer

from cli.acls import contracts
from cli.printing import console, print_table
from kernel.errors import ConfigError
from kernel.kafka.brokers import Brokers
from kernel.kafka.partitions import count_partitions, grow_topics
from kernel.kafka_settings import KafkaSettings

PARTITIONS_MAX = 1_000


def partitions(
    *,
    grow: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            min=2,
            max=PARTITIONS_MAX,
            help="Give each topic that has several partitions so many; there is no way back",
        ),
    ] = None,
) -> None:
    """Show how many partitions the topics have, or give them more while the services run.

    A topic that must have one partition keeps it: its readers rely on the order of all its records.
    """
    settings = KafkaSettings()
    brokers = Brokers.from_settings(settings)
    prefix = settings.kafka_topic_prefix
    divided = [
        prefix + name for one in contracts() if one.topic.partitions > 1 for name in one.names
    ]
    found = asyncio.run(count_partitions(brokers, divided))
    if not found:
        raise ConfigError("None of the topics exists yet. The services create them.")
    if grow is None:
        print_table(("topic", "partitions"), ((name, str(found[name])) for name in sorted(found)))
        return
    smaller = {name: grow for name in sorted(found) if found[name] < grow}
    asyncio.run(grow_topics(brokers, smaller))
    console.print(f"{len(smaller)} topics have {grow} partitions now.")
