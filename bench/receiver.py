"""`python -m bench.receiver`: a webhook endpoint that returns 204 and counts.

The first line on standard output has its address: {"port"}. GET /count returns the count; `--log
FILE` appends a JSON line per webhook: {"webhook_id", "at", "body"}.
"""

import argparse
import asyncio
import functools
import json
import os
import signal
import time
from dataclasses import dataclass
from typing import cast

import uvloop

HEAD_END = b"\r\n\r\n"
NO_CONTENT = b"HTTP/1.1 204 No Content\r\n\r\n"


@dataclass(slots=True)
class WebhookLog:
    count: int = 0
    log: int = -1

    def add(self, head: bytes, body: bytes) -> None:
        self.count += 1
        if self.log >= 0:
            row = {
                "webhook_id": field(head, b"webhook-id").decode(),
                "at": time.monotonic(),
                "body": body.decode("utf-8", "replace"),
            }
            os.write(self.log, json.dumps(row).encode() + b"\n")


class Endpoint(asyncio.Protocol):
    def __init__(self, webhook_log: WebhookLog) -> None:
        self.webhook_log = webhook_log
        self.buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self.buffer += data
        while (at := self.buffer.find(HEAD_END)) >= 0:
            head = self.buffer[:at]
            end = at + len(HEAD_END) + int(field(head, b"content-length") or 0)
            if len(self.buffer) < end:
                return
            body, self.buffer = self.buffer[at + len(HEAD_END) : end], self.buffer[end:]
            self.respond(head, body)

    def respond(self, head: bytes, body: bytes) -> None:
        if head.startswith(b"GET"):
            text = json.dumps({"count": self.webhook_log.count}).encode()
            start = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text)
            self.transport.write(start + text)
        else:
            self.webhook_log.add(head, body)
            self.transport.write(NO_CONTENT)


def field(head: bytes, name: bytes) -> bytes:
    """The value of a header field, b"" if absent. `name` in lower case."""
    start = head.lower().find(b"\r\n" + name + b":")
    return head[start + len(name) + 3 :].partition(b"\r\n")[0].strip() if start >= 0 else b""


async def serve(options: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, stop.set)
    flags = os.O_CREAT | os.O_WRONLY | os.O_APPEND
    webhook_log = WebhookLog(log=os.open(options.log, flags, 0o644) if options.log else -1)
    server = await loop.create_server(
        functools.partial(Endpoint, webhook_log), options.host, options.port
    )
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await stop.wait()


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.receiver", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--log", default="")
    return parser.parse_args()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(parse()))
