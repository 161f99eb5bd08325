"""Kafka and PostgreSQL for a run: an embedded stack, or servers from the environment."""

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from kernel.embedded import Embedded


@dataclass(frozen=True, slots=True)
class Servers:
    bootstrap_servers: str
    database_url: str
    # processes whose CPU time can be measured: none of external servers
    processes: Mapping[str, int]


@contextmanager
def servers(folder: Path) -> Iterator[Servers]:
    """OBM_KAFKA_BOOTSTRAP_SERVERS and DATABASE_URL if both are set, else an embedded stack."""
    if all(external_servers()):
        yield Servers(*external_servers(), {})
        return
    with Embedded(folder) as stack:
        pids = {"kafka": stack.kafka.pid, "postgresql": stack.postgres.pid}
        yield Servers(stack.bootstrap_servers, stack.database_url, pids)


def external_servers() -> tuple[str, str]:
    """The servers that the environment names; empty if it names none."""
    return os.environ.get("OBM_KAFKA_BOOTSTRAP_SERVERS", ""), os.environ.get("DATABASE_URL", "")
