"""Kafka and PostgreSQL for a run: an embedded stack, or servers from the environment."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kernel.embedded import EmbeddedStack
from kernel.kafka.brokers import Brokers
from kernel.kafka_settings import KafkaSettings


@dataclass(frozen=True, slots=True)
class Servers:
    kafka: Mapping[str, str]  # settings of its clients, by environment variable
    database_url: str
    # processes whose CPU time can be measured: none of external servers
    processes: Mapping[str, int]

    @property
    def brokers(self) -> Brokers:
        return Brokers.from_settings(KafkaSettings.model_validate(self.kafka))


@contextmanager
def servers(folder: Path) -> Iterator[Servers]:
    """OBM_KAFKA_BOOTSTRAP_SERVERS and DATABASE_URL if both are set, else an embedded stack."""
    if all(external_servers()):
        _, database_url = external_servers()
        yield Servers(external_kafka(), database_url, {})
        return
    with EmbeddedStack(folder) as stack:
        pids = {"kafka": stack.kafka.pid, "postgresql": stack.postgres.pid}
        yield Servers(stack.kafka.client_settings, stack.database_url, pids)


def external_kafka() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name.startswith("OBM_KAFKA_")}


def external_servers() -> tuple[str, str]:
    """The servers that the environment names; empty if it names none."""
    return os.environ.get("OBM_KAFKA_BOOTSTRAP_SERVERS", ""), os.environ.get("DATABASE_URL", "")
