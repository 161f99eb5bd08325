"""Both gRPC listeners, in a process of their own whose memory can be looked at."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

from contracts.events.v1.events_service_pb2_grpc import (
    EventsServiceServicer,
    add_EventsServiceServicer_to_server,
)
from kernel.backoff import Health
from kernel.rpc import Server
from services.ingest.api.grpc import EmailService
from services.ingest.api.grpc_server import GrpcServer, Proxies
from services.ingest.domain.problem import Problem

CONNECTIONS_MAX = 20


class Nobody:
    """A gate that knows no key."""

    async def admit(self, *_: object, **__: object) -> None:
        raise Problem(401, "missing_api_key", detail="this API key is not known")


@contextmanager
def doors() -> Iterator[tuple[int, int, int]]:
    """The process's id, the port of the public listener and that of the internal one."""
    with subprocess.Popen([sys.executable, "-m", __name__], stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        try:
            public, internal = map(int, process.stdout.readline().split())
            yield process.pid, public, internal
        finally:
            process.kill()


async def serve() -> None:
    nothing: Any = None
    service = EmailService(
        cast(Any, Nobody()), nothing, nothing, reserved_allowed=frozenset(), proxies=Proxies("")
    )
    public = GrpcServer(
        service,
        "127.0.0.1:0",
        admit=service.admit,
        health=Health(),
        connections_max=CONNECTIONS_MAX,
    )
    internal = Server("127.0.0.1:0", "a token")
    add_EventsServiceServicer_to_server(cast(Any, EventsServiceServicer)(), internal.grpc)
    serving = asyncio.gather(public.run(), internal.run())
    print(public.port, internal.port, flush=True)
    await serving


if __name__ == "__main__":
    asyncio.run(serve())
