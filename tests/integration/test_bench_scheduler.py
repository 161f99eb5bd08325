"""The bench of the scheduler, with few messages."""

from bench.scheduler.driver import driver
from bench.scheduler.rows import Rows
from services.router.domain.shaping import SiteLimits
from tests.support.stack import FreshDatabase


async def test_schedulers_of_the_bench_follow_each_other_on_one_database(
    database: FreshDatabase,
) -> None:
    rows = Rows(database.url)
    for _ in range(2):
        rows.empty()
        rows.fill(20, tenants=2, group=1)
        async with driver(database.system("router"), SiteLimits(in_flight_max=0)) as one:
            assert sum(tick.sent for tick in await one.drain()) == 20
    rows.empty()
