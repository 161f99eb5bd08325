"""`python -m bench.scheduler.owner URL CELL SECONDS`: a scheduler in a process of its own, which
owns a cell and assigns its mail for some time. Prints what it has done as JSON."""

import asyncio
import json
import sys
import time

from bench.scheduler.driver import driver
from kernel import clock
from kernel.memory import tune_gc
from services.router.domain.shaping import SiteLimits

WARM_UP_TICKS = 5


async def run(url: str, cell: str, seconds: float) -> None:
    """sent: messages. cpu_s: of this process."""
    async with driver(url, SiteLimits(in_flight_max=0), cell=cell) as one:
        await one.ticks(WARM_UP_TICKS)
        print(json.dumps({"ready": cell}), flush=True)
        await asyncio.to_thread(sys.stdin.readline)  # until all owners are ready
        sent, began_s, cpu_s = 0, clock.monotonic_s(), time.process_time()
        while clock.monotonic_s() < began_s + seconds:
            sent += sum(tick.sent for tick in await one.ticks(1))
        done = {"sent": sent, "cpu_s": time.process_time() - cpu_s}
        print(json.dumps(done | {"wall_s": clock.monotonic_s() - began_s}), flush=True)


if __name__ == "__main__":
    tune_gc()
    asyncio.run(run(sys.argv[1], sys.argv[2], float(sys.argv[3])))
