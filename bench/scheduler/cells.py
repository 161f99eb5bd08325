"""What one owner assigns, and what two owners of a cell each assign beside each other."""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import Sequence
from statistics import mean
from typing import NamedTuple

from bench.scheduler.driver import OTHER_GROUP, OTHER_POOL, SECRET_VARIABLE, SECRETS_TEXT
from bench.scheduler.rows import Rows
from services.router.domain.message import CELL

OTHER_CELL = "west"
SOURCES, TENANTS, MESSAGES = 50, 100, 150_000  # of each pool
RUN_S = 10.0
TURNS = 3


class Done(NamedTuple):
    """What an owner has done in the time of a run."""

    sent: int
    cpu_s: float
    wall_s: float

    @property
    def per_s(self) -> float:
        return self.sent / self.wall_s


async def compare(url: str, rows: Rows) -> dict[str, float]:
    """In turns, so that both meet the same machine. per_cpu_s: messages by second of an owner's
    processor, which is what bounds an owner on a machine with free cores."""
    rows.add_sources(SOURCES)
    rows.add_pool(OTHER_POOL, SOURCES)
    one: list[Done] = []
    two: list[Done] = []
    for _ in range(TURNS):
        fill(rows, [CELL, CELL])
        one += await run_owners(url, [CELL])
        fill(rows, [CELL, OTHER_CELL])
        two += await run_owners(url, [CELL, OTHER_CELL])
    one_per_s, two_per_s = mean(each.per_s for each in one), 2 * mean(each.per_s for each in two)
    return {
        "one_owner_per_s": round(one_per_s),
        "two_owners_per_s": round(two_per_s),
        "ratio": round(two_per_s / one_per_s, 2),
        "one_owner_per_cpu_s": round(per_cpu_s(one)),
        "each_of_two_per_cpu_s": round(per_cpu_s(two)),
        "ratio_by_cpu": round(2 * per_cpu_s(two) / per_cpu_s(one), 2),
    }


def per_cpu_s(done: Sequence[Done]) -> float:
    return sum(one.sent for one in done) / sum(one.cpu_s for one in done)


def fill(rows: Rows, cells: Sequence[str]) -> None:
    """Waiting messages of two pools, each in its cell."""
    rows.empty()
    for group, cell in enumerate(cells, OTHER_GROUP - 1):
        rows.fill(MESSAGES, tenants=TENANTS, group=group)
        rows.put_in_cell(group, cell)
    rows.place_pool(OTHER_POOL, cells[-1])
    rows.analyze()
    rows.write_back()


async def run_owners(url: str, cells: Sequence[str]) -> list[Done]:
    """Each in a process of its own, all at once."""
    owners = [await start(url, cell) for cell in cells]
    for one in owners:
        await read_line(one)
    for one in owners:
        assert one.stdin
        one.stdin.write(b"\n")
        await one.stdin.drain()
    done = [Done(**json.loads(await read_line(one))) for one in owners]
    for one in owners:
        await one.wait()
    return done


async def start(url: str, cell: str) -> Process:
    arguments = ("-m", "bench.scheduler.owner", url, cell, str(RUN_S))
    environment = {**os.environ, SECRET_VARIABLE: SECRETS_TEXT}
    return await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdin=PIPE, stdout=PIPE, env=environment
    )


async def read_line(process: Process) -> bytes:
    assert process.stdout
    if not (line := await process.stdout.readline()):
        raise RuntimeError("an owner has ended, see its output above")
    return line
