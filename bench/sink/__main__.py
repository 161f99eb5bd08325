"""`python -m bench.sink`: listen on one port of many loopback addresses until SIGTERM.

The first line on standard output has the addresses: {"port", "addresses", "control"}.
"""

import argparse
import asyncio
import functools
import json
import signal
import socket
import time

import uvloop

from bench.sink.control import LINE_MAX, Control
from bench.sink.script import Script
from bench.sink.session import Session, SinkContext
from bench.sink.tally import Tally

BACKLOG = 1024


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.sink", description=__doc__)
    parser.add_argument("--sites", type=int, default=24, help="number of loopback addresses")
    parser.add_argument("--network", default="127.0.77", help="first three octets of the addresses")
    parser.add_argument(
        "--port", type=int, default=0, help="port of all addresses; 0 picks a free one"
    )
    parser.add_argument("--control", type=int, default=0, help="control port; 0 picks a free one")
    parser.add_argument("--size", type=int, default=0, help="SIZE to announce, in octets")
    parser.add_argument("--log", default="", help="append a JSON line per message to this file")
    parser.add_argument("--run-header", default="X-Run-Id", help="header that is copied to the log")
    parser.add_argument("--sample-every", type=int, default=0, help="sample every n-th message")
    return parser.parse_args()


def listeners(network: str, sites: int, port: int) -> list[socket.socket]:
    """One bound socket per address, all on the same port."""
    found: list[socket.socket] = []
    for number in range(1, sites + 1):
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((f"{network}.{number}", port))
        port = listener.getsockname()[1]
        found.append(listener)
    return found


async def serve(options: argparse.Namespace) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(signum, stop.set)
    tally = Tally(options.log, options.run_header, options.sample_every)
    tally.open_log()
    context = SinkContext(tally, Script(), time.monotonic, SinkContext.hello(options.size))
    sockets = listeners(options.network, options.sites, options.port)
    for listener in sockets:
        await loop.create_server(
            functools.partial(Session, context), sock=listener, backlog=BACKLOG
        )
    control = Control(context.tally, context.script)
    control_server = await asyncio.start_server(
        control.serve, "127.0.0.1", options.control, limit=LINE_MAX
    )
    addresses = [listener.getsockname()[0] for listener in sockets]
    port, control_port = sockets[0].getsockname()[1], control_server.sockets[0].getsockname()[1]
    print(json.dumps({"port": port, "addresses": addresses, "control": control_port}), flush=True)
    await stop.wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(parse()))
