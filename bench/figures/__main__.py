"""Measures figures, searches and streams on real PostgreSQL.

Batches of events go through the handler of the log, first in turns with counting and without it;
the difference is compared with what the whole service takes, which reads others from Kafka.
Some batches are rolled back and repeated. All figures are compared with a count of the messages.
Beyond a million, the messages are copies of these: see `bench.figures.copies`.
"""

import asyncio
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from datetime import UTC, datetime, timedelta
from datetime import time as clock_time
from functools import partial
from pathlib import Path
from random import Random
from typing import Annotated, Any
from unittest import mock

import typer

from bench import record
from bench.figures.copies import copy_messages
from bench.figures.lives import DAYS, TURN, Key, Life, Tally, lives_of_turn
from bench.figures.readings import Readings, handle, tail
from bench.figures.service import running_service
from bench.folder import folder_of
from bench.printing import ReportProgress, console, print_table, progress
from bench.servers import Servers, servers
from cli.environment import migrate_all
from kernel.database import Database
from kernel.days import EPOCH
from kernel.health import DependencyHealth
from kernel.ids import uuid7_text
from kernel.memory import tune_gc
from kernel.migrate import role_url
from kernel.retry import retry_while_unavailable
from services.events.api import EventsServicer
from services.events.api.event_feed import EventFeed
from services.events.app import SESSION_SETTINGS
from services.events.domain import state
from services.events.handlers import EventLogHandler
from services.events.store.figures.folding import fold_deltas

HANDLED_MAX = 1_000_000  # further messages are copies of these
COMPARED = 20  # turns in which counting is compared with not counting
SERVED = 3  # turns that the service itself reads
TENANTS, FOLD = 5, 5_000

app = typer.Typer(add_completion=False, rich_markup_mode=None)


@app.command()
def main(
    *,
    messages: Annotated[int, typer.Option(min=TURN * 2)] = 40_000,
    json_file: Annotated[
        Path | None, typer.Option("--json", help="write the figures to this file")
    ] = None,
) -> None:
    """Measure the share of counting in the CPU time of events, and the time of reading."""
    document = record.describe_origin()
    tune_gc()  # as the service does
    with folder_of("figures") as folder, servers(folder) as started, progress(console) as report:
        migrate_all(started.database_url)
        figures = asyncio.run(measure(started, messages, folder=folder, report=report))
    rows = [(name, f"{value:,g}") for name, value in flat(figures)]
    print_table(console, "Figures", columns=("figure", "value"), rows=rows)
    if json_file:
        record.write(document | figures, json_file)
    if figures["differences"]:
        raise typer.Exit(1)


def flat(figures: dict[str, Any]) -> Iterator[tuple[str, float]]:
    for name, value in figures.items():
        if isinstance(value, dict):
            yield from ((f"{name} {key}", one) for key, one in value.items())
        else:
            yield name, value


async def measure(
    started: Servers, messages: int, *, folder: Path, report: ReportProgress
) -> dict[str, Any]:
    urls = [role_url(started.database_url, one) for one in ("events_system", "events_tenant")]
    system = Database(urls[0], name="system", session=SESSION_SETTINGS)
    tenant = Database(urls[1], name="tenant")
    feed, unused, now = EventFeed(system, DependencyHealth()), mock.Mock(), datetime.now(UTC)
    servicer = EventsServicer(system, tenant, feed=feed, webhooks=unused, egress_pools=unused)
    first = datetime.combine(now.date() - timedelta(days=DAYS - 1), clock_time(), UTC)
    readings = Readings(servicer, [uuid7_text() for _ in range(TENANTS)], uuid7_text(), first)
    handler = EventLogHandler(lambda _: 0, lambda _: None, 60.0)
    try:
        turns = min(messages, HANDLED_MAX) // TURN
        filling = Filling(system, handler, readings, now=now, report=report)
        await filling.run(turns)
        copies = messages // (turns * TURN) - 1
        differences = await readings.differences(filling.tally.counts)
        if copies:
            copied = partial(copy_messages, started.database_url, copies, today=now.date())
            await asyncio.to_thread(copied, report=report)
        counted = copies_of(filling.tally.counts, copies, first=(first.date() - EPOCH).days)
        queries, searches = await readings.query(), await readings.search()
        differences += await readings.differences(counted) if copies else 0
        tails = await tail(feed, readings, handler=handler, system=system)
        async with running_service(started, folder=folder, system=system) as service:
            costs = filling.costs(await service.cpu_ms(filling.more(SERVED)))
            exports = await service.beside_exports(readings)
    finally:
        await tenant.close()
        await system.close()
    times = {"metrics_ms": queries, "search_ms": searches, "tail_ms": tails}
    return {
        "messages": turns * TURN * (copies + 1),
        "handled": turns * TURN,
        **costs,
        **{name: percentiles(values) for name, values in times.items()},
        "exports": exports,
        "figures_compared": len(counted),
        "differences": differences,
    }


class Filling:
    """Records messages through the handler, and counts them."""

    def __init__(
        self, system: Database, handler: EventLogHandler, readings: Readings, *,
        now: datetime, report: ReportProgress,
    ) -> None:  # fmt: skip
        self.system, self.handler, self.readings = system, handler, readings
        self.now, self.report = now, report
        self.tally = Tally()
        self.cpu_s: dict[bool, float] = defaultdict(float)
        self.compared = 0

    async def run(self, turns: int) -> None:
        random, began = Random(1), self.readings
        self.compared = min(turns, COMPARED) // 2 * 2
        for turn in range(turns):
            self.report("messages", turn * TURN, turns * TURN)
            lives = lives_of_turn(
                random, began.tenants, account_id=began.account_id, now=self.now
            )  # fmt: skip
            is_compared = turn < self.compared
            counted = not is_compared or turn % 2 == 0
            with nullcontext() if counted else no_counting():
                before = time.process_time()
                disturb = (lambda _: False) if is_compared else (lambda n: n % 10 == 0)
                await handle(lives, self.handler, self.system, disturb=disturb)
                while counted and await retry_while_unavailable(
                    partial(fold, self.system), DependencyHealth()
                ):
                    pass
                if is_compared:
                    self.cpu_s[counted] += time.process_time() - before
            for life in lives if counted else ():
                self.tally.add(life)

    def more(self, turns: int) -> list[Life]:
        """Messages that are not recorded, nor counted."""
        random, of = Random(5), self.readings
        return [
            life
            for _ in range(turns)
            for life in lives_of_turn(random, of.tenants, account_id=of.account_id, now=self.now)
        ]

    def costs(self, service_ms: float) -> dict[str, Any]:
        """counting_share: of the CPU time of the service."""
        each = self.compared // 2 * TURN
        with_ms, without_ms = (self.cpu_s[counted] * 1000 / each for counted in (True, False))
        return {
            "cpu_ms_per_message": {
                "counting": with_ms, "not_counting": without_ms, "service": service_ms
            },
            "counting_share": (with_ms - without_ms) / service_ms,
        }  # fmt: skip


def copies_of(counts: Counter[Key], copies: int, *, first: int) -> Counter[Key]:
    """What is to be counted with the copies; first: the first day."""
    found: Counter[Key] = Counter()
    for (axis, dimension, day, value, name), number in counts.items():
        for n in range(copies + 1):
            found[axis, dimension, first + (day - first + n) % DAYS, value, name] += number
    return found


def percentiles(values: list[float]) -> dict[str, float]:
    """values: sorted."""
    return {"p50": values[len(values) // 2], "p99": values[-len(values) // 100]}


@contextmanager
def no_counting() -> Iterator[None]:
    """Without facts nothing is counted, encoded or decoded."""
    with mock.patch.object(state, "merge_facts", lambda facts, _: facts):
        yield


async def fold(system: Database) -> bool:
    async with system.transaction() as tx:
        return await fold_deltas(tx, FOLD) == FOLD


if __name__ == "__main__":
    app()
