"""`python -m bench.replicas`: what one replica of a service does, and what two do at once.

Shield and delivery, each from a full topic and without the other services: real events, which the
engine has recorded before, are published again with new identities. Each replica is bound to a
processor of its own; Kafka, PostgreSQL and the sink run where there is room, so on two processors
the rate of two replicas is below twice that of one. Messages by second of a replica's own processor
tell what replicas cost each other.
"""

import asyncio
import logging
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from itertools import islice
from pathlib import Path
from statistics import median
from typing import Annotated, Any, NamedTuple

import typer

from bench import cpu, record
from bench.contestant import Contestant
from bench.day import READ, read_consumers
from bench.engine import engine
from bench.folder import folder_of
from bench.printing import console, print_table, progress
from bench.signature import time_rsa_2048
from bench.sink.client import sink
from bench.turns import QUICK, Load, TurnContext, run
from cli.environment import SERVICES
from cli.processes import Process
from contracts.ingest.v1.events_pb2 import MessageAccepted
from contracts.router.v1.events_pb2 import DeliveryAssigned
from kernel import clock
from kernel.embedded.folder import free_port
from kernel.handler_result import Drop, HandlerResult
from kernel.health import DependencyHealth
from kernel.ids import uuid7_text
from kernel.kafka import Kafka
from kernel.processor import StreamProcessor
from kernel.topics import encode
from services.shield.settings import Settings

RECORDED = 2_000
CHUNK = 1_000  # events that are published together
SETTLE_S = 3.0  # until the partitions are divided
POLL_S = 0.05
WITHIN_S = 300.0
VALID = timedelta(hours=1)

Recorded = Sequence[MessageAccepted] | Sequence[DeliveryAssigned]
app = typer.Typer(add_completion=False, rich_markup_mode=None)


class Drained(NamedTuple):
    """One turn. messages: since everything was published, in wall_s; cpu_s: of the replicas, for
    all. share: of the messages that the busiest replica did."""

    replicas: int
    messages: int
    wall_s: float
    all_messages: int
    cpu_s: float
    others_ms: Mapping[str, float]
    share: float

    @property
    def per_s(self) -> float:
        return self.messages / self.wall_s

    @property
    def per_cpu_s(self) -> float:
        return self.all_messages / self.cpu_s


@dataclass(frozen=True, slots=True)
class Drain:
    """A service, and how its work is published and counted. consumer: of its topic; renewed: the
    event as new work. at_sink: it is done when it has arrived at the sink."""

    service: str
    consumer: str
    event: type[Any]
    renewed: Callable[[Any, int], Any]
    at_sink: bool = False


def accepted_again(event: MessageAccepted, _: int) -> MessageAccepted:
    found = MessageAccepted()
    found.CopyFrom(event)
    found.message_id = found.context.message_id = uuid7_text()
    return found


def assigned_again(event: DeliveryAssigned, repeat: int) -> DeliveryAssigned:
    """As the next attempts of the message, without a limit of the site."""
    found = DeliveryAssigned()
    found.CopyFrom(event)
    found.attempt += 1 + repeat
    found.not_after.FromDatetime(clock.now() + VALID)
    found.ClearField("per_second_max")
    return found


DRAINS = {
    "shield": Drain("shield", "shield.accepted", MessageAccepted, accepted_again),
    "delivery": Drain(
        "delivery", "delivery.assigned", DeliveryAssigned, assigned_again, at_sink=True
    ),
}


class ReplicaBench:
    """The turns of one service on a stack whose services have ended."""

    def __init__(
        self, context: TurnContext, contestant: Contestant, drain: Drain, *, recorded: Recorded
    ) -> None:
        self._context = context
        self._settings = contestant.settings
        self._drain = drain
        self._recorded = recorded
        self._published = 0
        stack = {"kafka", "postgresql"} & contestant.processes.keys()
        self._others = {name: contestant.processes[name] for name in stack}
        self._others |= {"sink": context.sink.pid}

    def take(self, replicas: int, messages: int, folder: Path) -> Drained:
        drain = self._drain
        with running(drain.service, self._settings, replicas, folder=folder) as processes:
            time.sleep(SETTLE_S)
            self._context.sink.sink.reset()
            own = {str(one.pid): one.pid for one in processes}
            done_before, before = self._done_each(processes), cpu.snapshot(own | self._others)
            asyncio.run(publish(self._settings, self._next(messages)))
            began, done_first = time.monotonic(), self._done(processes, done_before)
            self._await(processes, done_before, messages)
            wall_s, after = time.monotonic() - began, cpu.snapshot(own | self._others)
            each = self._read_each(processes)
            return Drained(
                replicas,
                messages - done_first,
                wall_s,
                messages,
                sum(after[name] - before[name] for name in own),
                {
                    name: (after[name] - before[name]) * 1000 / messages
                    for name in sorted(self._others)
                },
                max(each) / max(1, sum(each)),
            )

    def _next(self, messages: int) -> Iterator[Any]:
        for number in range(self._published, self._published + messages):
            repeat, index = divmod(number, len(self._recorded))
            yield self._drain.renewed(self._recorded[index], repeat)
        self._published += messages

    def _await(self, processes: Sequence[Process], before: int, messages: int) -> None:
        ends_at = time.monotonic() + WITHIN_S
        while (done := self._done(processes, before)) < messages:
            if time.monotonic() > ends_at:
                raise RuntimeError(f"{done} of {messages} messages after {WITHIN_S:.0f} s")
            name = f"{self._drain.service}, {len(processes)} replicas"
            self._context.report_progress(name, done, messages)
            time.sleep(POLL_S)

    def _done(self, processes: Sequence[Process], before: int) -> int:
        return self._done_each(processes) - before

    def _done_each(self, processes: Sequence[Process]) -> int:
        if self._drain.at_sink:
            return int(str(self._context.sink.sink.query("received")["messages"]))
        return sum(self._read_each(processes))

    def _read_each(self, processes: Sequence[Process]) -> list[int]:
        drain = self._drain
        counts = [read_consumers(one.environment, drain.service)[READ] for one in processes]
        return [found.get(drain.consumer, 0) for found in counts]


@contextmanager
def running(
    service: str, settings: Mapping[str, str], replicas: int, *, folder: Path
) -> Iterator[Sequence[Process]]:
    """Ready processes of the service, each bound to a processor, with listeners of its own."""
    processors = sorted(os.sched_getaffinity(0))
    processes = []
    try:
        for number in range(replicas):
            found = Process(service, with_free_ports(service, settings), folder / f"{number}.log")
            found.start()
            processes.append(found)
            # its threads and children inherit it
            os.sched_setaffinity(found.pid, {processors[number % len(processors)]})
        for one in processes:
            one.await_ready()
        yield processes
    finally:
        for one in processes:
            one.signal(signal.SIGTERM)
        for one in processes:
            one.terminate()


def with_free_ports(service: str, settings: Mapping[str, str]) -> dict[str, str]:
    own = [name for name in settings if name.startswith(f"{service.upper()}_")]
    listens = [name for name in own if name.endswith("_LISTEN")]
    return {**settings, **{name: f"127.0.0.1:{free_port()}" for name in listens}}


def kafka_of(settings: Mapping[str, str]) -> Kafka:
    os.environ.update(settings)  # of the engine, which has generated them
    return Kafka.from_settings(Settings(), DependencyHealth(), client="bench")


async def publish(settings: Mapping[str, str], events: Iterator[Any]) -> None:
    """Return when Kafka has all of them."""
    kafka = kafka_of(settings)
    for kind in (MessageAccepted, DeliveryAssigned):
        kafka.declare(kind)
    while chunk := [encode(one, clock.now()) for one in islice(events, CHUNK)]:
        await kafka.publish(chunk)
    await kafka.close()


async def read_recorded(settings: Mapping[str, str], event: type[Any], count: int) -> Recorded:
    """What is on the topic of the event."""
    found: list[Any] = []
    complete = asyncio.Event()

    async def keep(events: Sequence[Any]) -> Sequence[HandlerResult]:
        found.extend(events)
        if len(found) >= count:
            complete.set()
        return [Drop("recorded")] * len(events)

    kafka = kafka_of(settings)
    stream: StreamProcessor[Any] = StreamProcessor(
        event, name="bench", handler=keep, health=DependencyHealth(), send=kafka.publish
    )
    kafka.consume(stream, group=f"bench.{event.__name__}")
    reading = asyncio.create_task(kafka.run())
    try:
        async with asyncio.timeout(WITHIN_S):
            await complete.wait()
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await kafka.close()
    return found


def stop_services(contestant: Contestant) -> None:
    """Kafka and PostgreSQL stay. The engine collects the processes at its end."""
    pids = [contestant.processes[name] for name in SERVICES]
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    for pid in pids:
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)


def summarize(turns: Sequence[Drained]) -> dict[str, object]:
    """per_cpu_s: messages by second of a replica's own processor."""
    one, two = ([each for each in turns if each.replicas == count] for count in (1, 2))
    one_per_s, two_per_s = (median(each.per_s for each in group) for group in (one, two))
    one_cpu, two_cpu = (median(each.per_cpu_s for each in group) for group in (one, two))
    return {
        "one_per_s": round(one_per_s),
        "two_per_s": round(two_per_s),
        "ratio": round(two_per_s / one_per_s, 2),
        "one_per_cpu_s": round(one_cpu),
        "each_of_two_per_cpu_s": round(two_cpu),
        "ratio_by_cpu": round(2 * two_cpu / one_cpu, 2),
        "busiest_of_two": round(median(each.share for each in two), 2),
        "others_cpu_ms": {
            name: round(median(each.others_ms[name] for each in turns), 3)
            for name in turns[0].others_ms
        },
        "turns": [each._asdict() | {"per_s": round(each.per_s, 1)} for each in turns],
    }


def measure(
    context: TurnContext, contestant: Contestant, counts: Mapping[str, int], *, turns: int
) -> dict[str, object]:
    """counts: messages of a turn, by service."""
    root = Path(contestant.settings["EVENTS_TRACKING_SPOOL"]).parent / "replicas"
    run(context, contestant, Load("recording", RECORDED, is_intake=True))
    stop_services(contestant)
    found: dict[str, object] = {}
    for service, messages in counts.items():
        drain = DRAINS[service]
        recorded = asyncio.run(read_recorded(contestant.settings, drain.event, RECORDED))
        bench = ReplicaBench(context, contestant, drain, recorded=recorded)
        drained = [
            bench.take(replicas, messages, root / f"{service}-{turn}-{replicas}")
            for turn in range(turns)
            for replicas in (1, 2)
        ]
        found[service] = summarize(drained)
    return found


@app.command()
def main(
    *,
    shield: Annotated[int, typer.Option(min=0, help="messages of a turn; 0: none")] = 20_000,
    delivery: Annotated[int, typer.Option(min=0, help="messages of a turn; 0: none")] = 10_000,
    turns: Annotated[int, typer.Option(min=1, help="with one replica, and with two")] = 3,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="write the figures to this file")
    ] = None,
) -> None:
    """Measure one replica and two, in turns."""
    logging.disable(logging.WARNING)  # of the consumers that read what was recorded
    counts = {name: n for name, n in {"shield": shield, "delivery": delivery}.items() if n}
    document = record.describe_origin() | {"signature_ms": time_rsa_2048()}
    with sink([]) as started, progress(console) as report_progress:
        context = TurnContext(started, QUICK, report_progress)
        with folder_of("replicas") as root, engine(root, context.routes) as contestant:
            document["replicas"] = found = measure(context, contestant, counts, turns=turns)
    show(found)
    if json_file:
        record.write(document, json_file)


def show(found: Mapping[str, Any]) -> None:
    columns = [
        "one_per_s", "two_per_s", "ratio", "one_per_cpu_s", "each_of_two_per_cpu_s",
        "ratio_by_cpu", "busiest_of_two",
    ]  # fmt: skip
    print_table(
        console,
        "Messages per second, of one replica and of two",
        columns=("of", *(name.replace("_", " ") for name in columns)),
        rows=[(name, *(f"{one[key]:,g}" for key in columns)) for name, one in found.items()],
    )


if __name__ == "__main__":
    app()
