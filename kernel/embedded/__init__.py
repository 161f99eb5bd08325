"""Broker and database in wheels: Apache Kafka and PostgreSQL under one data folder.

    async with EmbeddedStack("data") as stack:      # or: with EmbeddedStack("data") as stack
        stack.kafka.client_settings             # OBM_KAFKA_BOOTSTRAP_SERVERS …, with a password
        stack.database_url                      # postgresql://…, the owner's
        stack.kafka.kill(); stack.kafka.start()  # same address; also stop, pause, resume
        stack.postgres.kill(); stack.postgres.start()
        stack.kafka.wipe(); stack.kafka.start()  # an empty broker beside a full database

Data survives a restart and a kill -9 of everything; the folder remembers its ports. The servers die
with the process that started them. All methods block (2 to 6 s for a start), so call them from a
thread if a loop is running. Failures are EmbeddedErrors of one line.
"""

import asyncio
import errno
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import TracebackType

from kernel.embedded.errors import disk_full_error
from kernel.embedded.folder import Folder
from kernel.embedded.kafka import EmbeddedKafka
from kernel.embedded.postgres import EmbeddedPostgres
from kernel.errors import EmbeddedError

__all__ = ["EmbeddedError", "EmbeddedStack"]


class EmbeddedStack:
    """The embedded stack. A port of 0 is the port of the folder's last run if free, else any free
    port."""

    def __init__(
        self, data_dir: Path | str, *, kafka_port: int = 0, postgres_port: int = 0
    ) -> None:
        self.folder = Folder(Path(data_dir))
        self.kafka = EmbeddedKafka(self.folder, port=kafka_port)
        self.postgres = EmbeddedPostgres(self.folder, port=postgres_port)

    @property
    def bootstrap_servers(self) -> str:
        return self.kafka.bootstrap_servers

    @property
    def database_url(self) -> str:
        return self.postgres.database_url

    @property
    def running(self) -> bool:
        return self.kafka.running and self.postgres.running

    def start(self) -> None:
        """Start both servers in parallel; if one fails, kill both."""
        try:
            self.folder.open()
            self.postgres.forget_owner()
            with ThreadPoolExecutor(2) as both:
                starts = [both.submit(server.start) for server in (self.kafka, self.postgres)]
            for start in starts:
                start.result()
        except BaseException as error:
            self.kill()
            if isinstance(error, OSError) and error.errno == errno.ENOSPC:
                raise disk_full_error(self.folder.path) from error
            raise

    def stop(self) -> None:
        with ThreadPoolExecutor(2) as both:
            stops = [both.submit(server.stop) for server in (self.kafka, self.postgres)]
        self.folder.close()
        for stop in stops:
            stop.result()

    def kill(self) -> None:
        """kill -9 of both, as at a power loss."""
        self.kafka.kill()
        self.postgres.kill()
        self.folder.close()

    def __enter__(self) -> "EmbeddedStack":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    async def __aenter__(self) -> "EmbeddedStack":
        await asyncio.to_thread(self.start)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await asyncio.to_thread(self.stop)
