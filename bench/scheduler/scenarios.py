"""What is measured, each on an empty database."""

import asyncio
import os
from collections.abc import Callable, Coroutine, Mapping, Sequence
from statistics import median
from typing import NamedTuple

from bench.memory import tree_mb
from bench.printing import ReportProgress
from bench.scheduler import cells
from bench.scheduler.driver import Driver, Tick, driver, percentile_ms
from bench.scheduler.rows import Rows, tenant_prefix
from contracts.router.v1.events_pb2 import DeliveryAssigned
from kernel import clock
from services.router.domain.shaping import SiteLimits

Figures = dict[str, float]
TENANTS, SOURCES = 10_000, 1_000
CLAIM_TENANTS, CLAIMS = 100, 20_000
SHUT_TICKS = 50
PROBES, PROBE_INTERVAL_S, REPLY_S = 300, 0.05, 0.03


class Context(NamedTuple):
    """millions: messages that wait in the largest scenario."""

    url: str
    rows: Rows
    millions: int
    report_progress: ReportProgress


async def crowd(context: Context) -> Figures:
    """Ticks with ten thousand tenants that have mail and a thousand sources in one pool."""
    context.rows.add_sources(SOURCES)
    context.rows.fill(20 * TENANTS, tenants=TENANTS, group=1)
    context.rows.analyze()
    async with driver(context.url, SiteLimits(in_flight_max=100, per_second_max=20)) as one:
        await one.ticks(20)
        ticks = await one.ticks(300)
    return tick_figures(ticks)


async def shut(context: Context) -> Figures:
    """A million messages behind one scope without capacity, in one queue and in ten thousand."""
    figures: Figures = {}
    for name, tenants in (("one_queue", 1), ("ten_thousand", TENANTS)):
        context.rows.empty()
        context.rows.fill(
            1_000_000, tenants=tenants, group=1, report_progress=context.report_progress
        )
        context.rows.analyze()
        async with driver(context.url, SiteLimits(in_flight_max=1)) as one:
            before_mb = tree_mb(os.getpid())
            blocking = [await one.tick()]
            while context.rows.has_active_queues():
                blocking.append(await one.tick())
            idle = [await one.tick() for _ in range(SHUT_TICKS)]
            wakes = [await wake_one(one) for _ in range(SHUT_TICKS)]
            figures |= {
                f"{name}_blocking_ms": percentile_ms((tick.wall_s for tick in blocking), 50),
                f"{name}_tick_ms": percentile_ms((tick.wall_s for tick in idle), 50),
                f"{name}_wake_ms": percentile_ms(wakes, 50),
                f"{name}_memory_mb": round(tree_mb(os.getpid()) - before_mb, 1),
            }
    return figures


async def wake_one(one: Driver) -> float:
    """The time of the ticks from a free place to its next message."""
    await one.deliver()
    ticks = [await one.tick()]
    while not one.sent:
        ticks.append(await one.tick())
    return sum(tick.wall_s for tick in ticks)


async def claims(context: Context) -> Figures:
    """Messages assigned per second of ticks: with a thousand waiting; and with millions, after a
    million rows have changed under a transaction that is still open."""
    few = [await claim_few(context)]
    context.rows.empty()
    context.rows.fill(
        context.millions, tenants=CLAIM_TENANTS, group=1, report_progress=context.report_progress
    )
    context.rows.analyze()
    with context.rows.old_snapshot():
        context.report_progress("changing rows", 0, 1)
        context.rows.churn(min(1_000_000, context.millions))
        context.rows.write_back()
        async with driver(context.url, SiteLimits(in_flight_max=0)) as one:
            await one.ticks(3)
            many = per_second(await one.ticks(CLAIMS // 500))
    context.rows.empty()
    few.append(await claim_few(context))
    return {
        "with_a_thousand_per_s": round(median(few)),
        "with_millions_per_s": round(many),
        "ratio": round(many / median(few), 2),
    }


async def claim_few(context: Context) -> float:
    ticks: list[Tick] = []
    context.rows.write_back()
    async with driver(context.url, SiteLimits(in_flight_max=0)) as one:
        for number in range(CLAIMS // 1000):
            context.rows.fill(1000, tenants=CLAIM_TENANTS, group=1)
            found = await one.drain()
            ticks += [tick for tick in found if number and tick.sent]
    return per_second(ticks)


async def neighbour(context: Context) -> Figures:
    """The time from the commit of a message to its assignment: of a tenant alone, and beside one
    with a million messages for the same source and site."""
    alone = await probe(context)
    context.rows.fill(1_000_000, tenants=1, group=1, report_progress=context.report_progress)
    context.rows.analyze()
    context.rows.write_back()
    beside = await probe(context)
    figures = {
        "alone_p50_ms": percentile_ms(alone, 50),
        "alone_p99_ms": percentile_ms(alone, 99),
        "beside_p50_ms": percentile_ms(beside, 50),
        "beside_p99_ms": percentile_ms(beside, 99),
    }
    return figures | {"ratio_p99": round(figures["beside_p99_ms"] / figures["alone_p99_ms"], 2)}


async def probe(context: Context) -> list[float]:
    """The waits of messages of one tenant, sent now and then."""
    sent_at: asyncio.Queue[float] = asyncio.Queue()
    probed = tenant_prefix(2)

    def on_sent(events: Sequence[DeliveryAssigned]) -> None:
        if any(one.context.tenant_id.startswith(probed) for one in events):
            sent_at.put_nowait(clock.monotonic_s())

    waits = []
    async with (
        driver(context.url, SiteLimits(in_flight_max=100)) as one,
        asyncio.TaskGroup() as loops,
    ):
        one.on_sent = on_sent
        tasks = [loops.create_task(loop) for loop in (one.scheduler.run(), reply(one))]
        for _ in range(PROBES):
            await asyncio.to_thread(context.rows.fill, 1, tenants=1, group=2)
            began_s = clock.monotonic_s()
            one.scheduler.wake()
            waits.append(await sent_at.get() - began_s)
            await asyncio.sleep(PROBE_INTERVAL_S)
        for task in tasks:
            task.cancel()
    return waits


async def reply(one: Driver) -> None:
    """A receiver that replies after a while."""
    while True:
        await asyncio.sleep(REPLY_S)
        if one.sent:
            await one.deliver()
            one.scheduler.on_results()


def tick_figures(ticks: Sequence[Tick]) -> Figures:
    return {
        "tick_p50_ms": percentile_ms((tick.wall_s for tick in ticks), 50),
        "tick_p99_ms": percentile_ms((tick.wall_s for tick in ticks), 99),
        "tick_cpu_p50_ms": percentile_ms((tick.cpu_s for tick in ticks), 50),
        "messages_per_tick": round(sum(tick.sent for tick in ticks) / len(ticks)),
    }


def per_second(ticks: Sequence[Tick]) -> float:
    return sum(tick.sent for tick in ticks) / sum(tick.wall_s for tick in ticks)


SCENARIOS: Mapping[str, Callable[[Context], Coroutine[None, None, Figures]]] = {
    "crowd": crowd,
    "shut": shut,
    "claims": claims,
    "neighbour": neighbour,
    "cells": lambda context: cells.compare(context.url, context.rows),
}
