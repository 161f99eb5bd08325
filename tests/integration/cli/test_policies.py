"""Warmups and overrides in a shell, without a running router: commands wait for it."""

import asyncio
import time

import pytest

from contracts.router.v1.policies_pb2 import (
    CheckOutcome,
    FoundListing,
    PolicyCommand,
    SourceCheck,
)
from contracts.router.v1.results_pb2 import Results
from kernel.database import Database
from services.router.domain.adaptation import AdaptationRules, AdaptivePolicies
from services.router.domain.events import timestamp
from services.router.domain.ramps import Ramp
from services.router.store import policies, results
from tests.support.shell import DatabaseShell
from tests.support.stack import FreshDatabase

NOW_S = 1_795_000_000.0
RAMP = Ramp("default", "day", (200, 500), "the test")


@pytest.fixture(scope="module")
def shell(database: FreshDatabase) -> DatabaseShell:
    return DatabaseShell(database)


def decide(database: FreshDatabase) -> list[PolicyCommand]:
    """Obey the commands that wait, as the scheduler does."""

    async def run_tick() -> list[PolicyCommand]:
        connections = Database(database.system("router"), name="test", connections_max=1)
        async with connections.transaction() as tx:
            _, received = await results.take_over(tx)
            adaptive = AdaptivePolicies(AdaptationRules(ramps={"default": RAMP}))
            await policies.load(tx, adaptive)
            adaptive.observe([], received.commands, now_s=NOW_S)
            await policies.save(tx, adaptive.drain(NOW_S))
        await connections.close()
        return list(Results(commands=received.commands).commands)

    return asyncio.run(run_tick())


def give(database: FreshDatabase, command: PolicyCommand) -> None:
    async def append() -> None:
        connections = Database(database.system("router"), name="test", connections_max=1)
        async with connections.transaction() as tx:
            await results.append(tx, Results(commands=[command]))
        await connections.close()

    asyncio.run(append())


def line_of(text: str, part: str) -> str:
    [line] = [line for line in text.splitlines() if part in line]
    return line


def test_a_new_source_is_warmed_up_paused_and_finished(shell: DatabaseShell) -> None:
    egress = shell.obm("egress", "add", "127.0.0.61", "--warmup", "default")
    assert len(decide(shell.database)) == 1
    shown = line_of(shell.obm("warmup", "show"), egress)
    for cell in ("127.0.0.61", "ramping", "1 of 2", "200"):
        assert cell in shown
    for action, status in (("pause", "paused"), ("resume", "ramping"), ("finish", "finished")):
        shell.obm("warmup", action, "127.0.0.61")
        decide(shell.database)
        assert status in line_of(shell.obm("warmup", "show"), egress)
    assert "the warmup is finished" in shell.refused("warmup", "pause", egress).lower()
    shell.obm("egress", "remove", egress)


def test_a_source_without_a_warmup_is_warm(shell: DatabaseShell) -> None:
    egress = shell.obm("egress", "add", "127.0.0.62")
    assert decide(shell.database) == []
    assert egress not in shell.obm("warmup", "show")
    assert "not warming up" in shell.refused("warmup", "pause", egress)
    assert "no ramp" in shell.refused("warmup", "start", egress, "--ramp", "steep")
    assert "no ramp" in shell.refused("egress", "add", "127.0.0.63", "--warmup", "steep").lower()
    shell.obm("egress", "remove", egress)


def test_the_state_of_a_source_and_its_problems_are_shown(shell: DatabaseShell) -> None:
    shell.add_pool("acme")
    in_acme = ("--pool", "acme", "--ehlo", "out.acme.example")
    assert "Pool acme has no usable egress source: its mail waits (no_egress)" in shell.obm(
        "egress", "list"
    )
    egress = shell.obm("egress", "add", "127.0.0.65", *in_acme, "--warmup", "default")
    decide(shell.database)
    listed = line_of(shell.obm("egress", "list"), egress)
    for cell in ("acme", "127.0.0.65", "warming", "1 of 2", "200"):
        assert cell in listed
    assert "no usable egress source" not in shell.obm("egress", "list")

    advice = "Publish a PTR record for 127.0.0.65."
    missing = CheckOutcome(check="ptr", address="127.0.0.65", problem="ptr_missing", advice=advice)
    found = SourceCheck(
        egress_id=egress,
        checked_at=timestamp(time.time()),
        addresses=["127.0.0.65"],
        outcomes=[missing],
        listings=[FoundListing(zone="bl.example", listed=True)],
    )
    give(shell.database, PolicyCommand(source_check=found))
    decide(shell.database)
    for cell in ("suspended", "listed ptr_missing"):
        assert cell in line_of(shell.obm("egress", "list"), egress)
    shown = shell.obm("egress", "show", "127.0.0.65")
    for text in (advice, "bl.example", "stage 1 of 2", "0 of 200 used today"):
        assert text in shown
    assert "There is no egress source" in shell.refused("egress", "show", "127.0.0.99")
    shell.obm("egress", "remove", egress)
    assert egress not in shell.obm("egress", "list")


def test_an_override_is_set_listed_and_removed(shell: DatabaseShell) -> None:
    egress = shell.obm("egress", "add", "127.0.0.64")
    hour = ("--hours", "720")  # the times of the scheduler are those of the test
    name = shell.obm("overrides", "set", "--egress", egress, "--site", "yahoo", *hour)
    decide(shell.database)
    listed = line_of(shell.obm("overrides", "list"), name)
    assert f"egress_site/{egress}/yahoo" in name
    assert "suspend_site" in listed
    assert (
        "no override nobody/knows is in force"
        in shell.refused("overrides", "remove", "nobody/knows").lower()
    )
    assert "Name an egress source and a site" in shell.refused(
        "overrides", "set", "--site", "yahoo"
    )
    for site in ("a/b", "a b", "x" * 6_000):
        assert "There is no egress_site" in shell.refused(
            "overrides", "set", "--egress", egress, "--site", site
        )
    shell.obm("egress", "remove", egress)
