"""Passes octets between two connections, in both directions, as fast as the slower one reads."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

CHUNK_OCTETS = 64 * 1024  # a connection holds a few of them while its other end does not read


@dataclass(frozen=True, slots=True)
class Stream:
    """A connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    def abort(self) -> None:
        self.writer.transport.abort()


def open_stream() -> tuple[asyncio.StreamReader, asyncio.StreamReaderProtocol]:
    """The reader of a connection, and its protocol, to connect it with."""
    reader = asyncio.StreamReader(limit=CHUNK_OCTETS)
    return reader, asyncio.StreamReaderProtocol(reader)


def stream_of(
    transport: asyncio.BaseTransport,
    reader: asyncio.StreamReader,
    protocol: asyncio.StreamReaderProtocol,
) -> Stream:
    loop = asyncio.get_running_loop()
    writer = asyncio.StreamWriter(transport, protocol, reader, loop)  # type: ignore[arg-type]
    return Stream(reader, writer)


async def relay(client: Stream, remote: Stream, *, idle_timeout_s: float) -> str:
    """Until both directions have ended, one of the connections breaks, or nothing has moved for as
    long. Returns the reason why it was cut; empty if it ended. Both connections are closed."""
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(idle_timeout_s) as limit:

            def on_progress() -> None:
                limit.reschedule(loop.time() + idle_timeout_s)

            async with asyncio.TaskGroup() as group:
                group.create_task(_copy(client, remote, on_progress))
                group.create_task(_copy(remote, client, on_progress))
    except TimeoutError:
        client.abort()
        remote.abort()
        return "idle"
    except BaseExceptionGroup as group:
        remote.abort()
        if group.split(OSError)[1] is not None:  # OSError: also of TLS
            raise
        return "broken"
    finally:
        client.writer.close()  # what the client has not read yet is still sent
        remote.writer.close()
    return ""


async def _copy(source: Stream, target: Stream, on_progress: Callable[[], None]) -> None:
    while data := await source.reader.read(CHUNK_OCTETS):
        on_progress()
        target.writer.write(data)
        await target.writer.drain()
        on_progress()
    if target.writer.transport.is_closing():
        return
    if target.writer.can_write_eof():
        target.writer.write_eof()
    else:
        target.writer.close()  # TLS has no half-closed connections here; it sends what is left
