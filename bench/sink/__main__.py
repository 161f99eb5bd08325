"""`python -m bench.sink`: listens on one port of many loopback addresses, until SIGTERM.

The first line on standard output says where: {"port", "addresses", "control"}.
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
from bench.sink.session import House, Session
from bench.sink.tally import Tally

BACKLOG = 1024


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.sink", description=__doc__)
    parser.add_argument("--sites", type=int, default=24, help="how many loopback addresses")
    parser.add_argument("--network", default="127.0.77", help="their first three numbers")
    parser.add_argument("--port", type=int, default=0, help="one for all; 0 finds a free one")
    parser.add_argument("--control", type=int, default=0, help="port of the control door")
    parser.add_argument("--size", type=int, default=0, help="SIZE to announce, in octets")
    parser.add_argument("--log", default="", help="append a JSON line per message to this file")
    parser.add_argument("--run-header", default="X-Run-Id", help="header that the log copies")
    parser.add_argument("--sample-every", type=int, default=0, help="keep every n-th message")
    return parser.parse_args()


def listeners(network: str, sites: int, port: int) -> list[socket.socket]:
    """One bound socket per address, all on the port that the first one found."""
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
    house = House(tally, Script(), time.monotonic, House.hello(options.size))
    sockets = listeners(options.network, options.sites, options.port)
    for listener in sockets:
        await loop.create_server(functools.partial(Session, house), sock=listener, backlog=BACKLOG)
    control = Control(house.tally, house.script)
    door = await asyncio.start_server(control.serve, "127.0.0.1", options.control, limit=LINE_MAX)
    addresses = [listener.getsockname()[0] for listener in sockets]
    port, door_port = sockets[0].getsockname()[1], door.sockets[0].getsockname()[1]
    print(json.dumps({"port": port, "addresses": addresses, "control": door_port}), flush=True)
    await stop.wait()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(serve(parse()))
