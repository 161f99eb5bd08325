"""`python -m bench.load http|smtp`: run one load and exit.

Standard output has JSON lines: progress twice a second, and finally the result.
"""

import argparse
import asyncio
import json
import ssl
import time
from contextlib import suppress

import uvloop

from bench.load.driver import Driver, Plan
from bench.load.http import HttpConnection, head
from bench.load.smtp import SmtpConnection
from bench.messages import Variant, sites, variants

POLL_S = 0.05
PROGRESS_INTERVAL_S = 0.5
RECONNECT_AFTER_S = 0.2
STALLED_AFTER_S = 30.0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.load", description=__doc__)
    parser.add_argument("protocol", choices=("http", "smtp"))
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--path", default="/v1/emails")
    parser.add_argument("--key", default="", help="API key")
    parser.add_argument("--tls", action="store_true", help="TLS from the start, unverified")
    parser.add_argument("--sites", type=int, default=24)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--count", type=int, default=1000, help="minimum number of messages")
    parser.add_argument("--seconds", type=float, default=0.0, help="minimum duration")
    parser.add_argument(
        "--rate",
        type=float,
        default=0.0,
        help="messages per second in the open loop; 0 is the closed loop",
    )
    parser.add_argument("--first-serial", type=int, default=0)
    parser.add_argument(
        "--backlog", type=int, default=0, help="maximum number of accepted but undelivered messages"
    )
    parser.add_argument(
        "--sink-control",
        type=int,
        default=0,
        help="control port of the sink, to count delivered messages",
    )
    parser.add_argument(
        "--keep-times", action="store_true", help="include the time when each message was accepted"
    )
    return parser.parse_args()


async def run(options: argparse.Namespace) -> dict[str, object]:
    plan = Plan(
        count=options.count,
        seconds=options.seconds,
        rate=options.rate,
        backlog=options.backlog,
        first_serial=options.first_serial,
    )
    driver = Driver(plan, time.monotonic, asyncio.get_running_loop().call_later)
    texts = variants(sites(options.sites))
    await connect(driver, texts, options)
    cpu_before = time.process_time()
    driver.begin()
    watchers = [asyncio.create_task(print_progress(driver))]
    watchers.append(asyncio.create_task(watch_sink(driver, options.sink_control)))
    if plan.rate:
        watchers.append(asyncio.create_task(driver.tick()))
    await driver.ended.wait()
    for task in watchers:
        task.cancel()
    used = time.process_time() - cpu_before
    return result(driver, texts if options.keep_times else []) | {"cpu_seconds": used}


async def connect(driver: Driver, texts: list[Variant], options: argparse.Namespace) -> None:
    """Open all connections and wait until each can carry a message."""
    loop = asyncio.get_running_loop()
    tls = unverified() if options.tls else None
    start = head(f"{options.host}:{options.port}", options.path, options.key)

    def connection() -> asyncio.Protocol:
        if options.protocol == "http":
            return HttpConnection(driver, texts, start)
        return SmtpConnection(driver, texts, options.key)

    async def reconnect() -> None:
        with suppress(OSError):
            await loop.create_connection(connection, options.host, options.port, ssl=tls)
            return
        loop.call_later(RECONNECT_AFTER_S, driver.reconnect)

    for _ in range(options.connections):
        await loop.create_connection(connection, options.host, options.port, ssl=tls)
    tasks: set[asyncio.Task[None]] = set()
    driver.reconnect = lambda: tasks.add(loop.create_task(reconnect()))
    while len(driver.idle) < options.connections:
        await asyncio.sleep(POLL_S)


def unverified() -> ssl.SSLContext:
    """For a certificate that the engine made for itself."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def print_progress(driver: Driver) -> None:
    """Print progress, and end a run that makes no progress."""
    last, moved_at = (0, 0, 0), time.monotonic()
    while True:
        await asyncio.sleep(PROGRESS_INTERVAL_S)
        now = (driver.sent, driver.outcomes.total(), driver.delivered)
        if now != last:
            last, moved_at = now, time.monotonic()
        elif time.monotonic() - moved_at > STALLED_AFTER_S:
            driver.ended.set()
        print(json.dumps({"sent": driver.sent, "delivered": driver.delivered}), flush=True)


async def watch_sink(driver: Driver, control: int) -> None:
    """Follow the sink's count of messages; without a sink all accepted messages count as
    delivered."""
    if not control:
        while True:
            await asyncio.sleep(POLL_S)
            driver.wake(driver.sent)
    reader, writer = await asyncio.open_connection("127.0.0.1", control)
    while True:
        await asyncio.sleep(POLL_S)
        writer.write(b'{"command": "received"}\n')
        driver.wake(json.loads(await reader.readline())["messages"])


def result(driver: Driver, texts: list[Variant]) -> dict[str, object]:
    times = {
        texts[serial % len(texts)].recipient(serial): at
        for serial, at in driver.accepted_at.items()
        if texts
    }
    return {
        "result": True,
        "sent": driver.sent,
        "accepted": driver.accepted,
        "outcomes": dict(driver.outcomes),
        "seconds": time.monotonic() - driver.started_at,
        "accept_ms": driver.latencies.summary(),
        "accepted_at": times,
    }


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        print(json.dumps(runner.run(run(parse()))), flush=True)
