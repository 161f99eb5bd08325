"""`obm rewind`: let the services read again what was published since a time."""

import asyncio
from datetime import datetime
from typing import Annotated

import typer

from cli.environment import SERVICES
from cli.printing import print_table
from kernel.errors import ConfigError
from kernel.kafka.brokers import Brokers
from kernel.kafka.rewind import rewind_groups
from kernel.kafka_settings import KafkaSettings


def rewind(
    since: Annotated[str, typer.Argument(metavar="TIME", help="Such as 2026-05-31T12:00:00Z")],
) -> None:
    """Let the services read again what was published since a time. After a restore of PostgreSQL,
    that is the time of its backup. Stop all services first.

    What they know already changes nothing. Consumers of others are not touched.
    """
    settings = KafkaSettings()
    names = tuple(settings.kafka_topic_prefix + name for name in SERVICES)
    to_ms = int(parse_time(since).timestamp() * 1000)
    found = asyncio.run(rewind_groups(Brokers.from_settings(settings), names, to_ms=to_ms))
    if not found:
        raise ConfigError("No service has read anything yet.")
    print_table(("group", "records to read again"), ((one, str(n)) for one, n in found.items()))


def parse_time(text: str) -> datetime:
    """Raises ConfigError."""
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        raise ConfigError(f"{text} is not a time like 2026-05-31T12:00:00Z.") from None
    if time.tzinfo is None:
        raise ConfigError(f"{text} has no time zone. Add Z for UTC.")
    return time
