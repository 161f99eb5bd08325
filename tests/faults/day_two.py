"""What operators do, and what happens to their machines, while mail flows."""

import time

from typer.testing import CliRunner

from cli.main import app
from tests.faults.cell_owners import kill_owners_of_cells, start_with_cells
from tests.faults.clock_steps import start_with_clocks, step_clocks
from tests.faults.dns_outage import dns_away, start_with_dns
from tests.faults.full_disk import fill_disks, start_on_small_disks
from tests.faults.restores import restore_database, roll_back_kafka
from tests.faults.scenario import Scenario
from tests.faults.world import World

GROWN_BY = 6
GROWN_S = 25.0  # until consumers have noticed new partitions by themselves


def grow_partitions(world: World, times: int) -> None:
    """`obm partitions --grow` under load."""
    kafka = dict(world.stack.kafka.client_settings)
    for turn in range(times):
        world.pause(turn)
        count = int(world.environment["OBM_KAFKA_PARTITIONS_MAX"]) + GROWN_BY * (turn + 1)
        result = CliRunner().invoke(app, ["partitions", "--grow", str(count)], env=kafka)
        if result.exit_code:
            raise AssertionError(result.output or repr(result.exception))
        world.faults += 1
        world.notes.append(result.output.strip())
        time.sleep(GROWN_S)


def day_two_scenarios() -> list[Scenario]:
    return [
        Scenario("grow partitions", grow_partitions, 3, rate_per_s=30.0),
        Scenario("restore database", restore_database, 3, rate_per_s=30.0),
        Scenario("roll back kafka", roll_back_kafka, 3, rate_per_s=30.0, audited=True),
        Scenario("clock steps", step_clocks, 1, rate_per_s=20.0, start=start_with_clocks),
        Scenario(
            "kill owners of cells", kill_owners_of_cells, 4, rate_per_s=10.0, start=start_with_cells
        ),
        Scenario("dns away", dns_away, 4, rate_per_s=20.0, start=start_with_dns),
        Scenario("full disk", fill_disks, 3, rate_per_s=30.0, start=start_on_small_disks),
    ]
