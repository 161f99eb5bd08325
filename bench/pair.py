"""Kafka and PostgreSQL for a run: the embedded ones under its folder, or those that are named."""

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
    processes: Mapping[str, int]  # whose CPU time can be told: not that of servers elsewhere


@contextmanager
def servers(folder: Path) -> Iterator[Servers]:
    """OBM_KAFKA_BOOTSTRAP_SERVERS and DATABASE_URL when both are set, else an embedded stack."""
    if all(named()):
        yield Servers(*named(), {})
        return
    with Embedded(folder) as stack:
        pids = {"kafka": stack.kafka.pid, "postgresql": stack.postgres.pid}
        yield Servers(stack.bootstrap_servers, stack.database_url, pids)


def named() -> tuple[str, str]:
    """The servers that the environment names, empty where it names none."""
    return os.environ.get("OBM_KAFKA_BOOTSTRAP_SERVERS", ""), os.environ.get("DATABASE_URL", "")
