"""Egress sources, warmups and overrides in a shell: `obm` is a client of the API."""

import asyncio
import re
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.api import Api, find_credentials
from contracts.router.v1.policies_pb2 import (
    CheckOutcome,
    FoundListing,
    ListingCheck,
    PolicyCommand,
    SourceCheck,
)
from contracts.router.v1.results_pb2 import Results
from kernel.database import Database
from services.router.domain.events import timestamp
from services.router.store import results
from tests.support.accounts import keys_of_callers
from tests.support.engine import Engine, engine_of, until
from tests.support.shell import Shell
from tests.support.stack import FreshDatabase

RAMPS = """
[[ramp]]
name = "tiny"
per = "day"
stages = [200, 500]
source = "the test"
"""


@pytest.fixture(scope="module")
def engine(
    bootstrap_servers: str, topic_prefix: str, database: FreshDatabase,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Engine]:  # fmt: skip
    folder = tmp_path_factory.mktemp("engine")
    (folder / "ramps.toml").write_text(RAMPS)
    settings = {
        "OBM_KAFKA_TOPIC_PREFIX": topic_prefix,
        "OBM_LEASE_S": "3",  # services are killed, and their successors wait for it
        "ROUTER_RAMPS_FILE": str(folder / "ramps.toml"),
        "ROUTER_WARMUP_RAMP": "tiny",
        "ROUTER_SOURCE_CHECKS": "off",  # the test has findings of its own
    }
    with engine_of(
        folder, bootstrap_servers=bootstrap_servers, database=database, settings=settings
    ) as running:
        yield running


@pytest.fixture(scope="module")
def shell(engine: Engine) -> Shell:
    """It has no database."""
    key = keys_of_callers(engine.environment)["accounts"]
    made = Shell({"OBM_API_URL": engine.url, "OBM_OPERATOR_KEY": key})
    made.obm("account", "create", "Acme")
    made.obm("tenant", "create", "shop", "--account", "Acme")
    return made


@pytest.fixture(scope="module")
def api(shell: Shell) -> Api:
    return Api(find_credentials(shell.environment, Path("nowhere")))


def line_of(text: str, part: str) -> str:
    [line] = [line for line in text.splitlines() if part in line]
    return line


def test_an_egress_source_has_at_most_one_address_per_family(shell: Shell) -> None:
    both = shell.obm("egress", "add", "::1", "127.0.0.8", "--ehlo", "out8.example.net")
    listed = line_of(shell.obm("egress", "list"), both)
    assert "127.0.0.8 ::1" in listed
    assert "out8.example.net" in listed
    assert "one IPv4 and one IPv6" in shell.refused("egress", "add", "127.0.0.8", "127.0.0.7")
    assert "already" in shell.refused("egress", "add", "127.0.0.6", "::1")
    assert "already" in shell.refused("egress", "add", "127.0.0.8")
    shell.obm("egress", "remove", both)


def test_an_egress_source_can_be_moved_to_addresses_of_both_families(shell: Shell) -> None:
    egress = shell.obm("egress", "add", "127.0.0.7")
    other = shell.obm("egress", "add", "127.0.0.6")
    assert "already" in shell.refused("egress", "move", egress, "127.0.0.6", "::1")
    shell.obm("egress", "move", egress, "127.0.0.7", "::1")
    assert "127.0.0.7 ::1" in line_of(shell.obm("egress", "list"), egress)
    assert "no egress source" in shell.refused("egress", "move", "7", "127.0.0.5")
    for one in (egress, other):
        shell.obm("egress", "remove", one)


def test_a_source_names_the_machine_that_has_its_address(shell: Shell) -> None:
    egress = shell.obm("egress", "add", "192.0.2.33", "--host", "OUT3.example.com:1080")
    assert "out3.example.com:1080" in shell.obm("egress", "show", egress)
    shell.obm("egress", "move", egress, "192.0.2.34", "--host", "[2001:db8::1]:1080")
    assert "[2001:db8::1]:1080" in shell.obm("egress", "show", "192.0.2.34")
    shell.obm("egress", "move", egress, "127.0.0.34", "--host", "")
    assert "egress host" not in shell.obm("egress", "show", egress)
    shell.obm("egress", "remove", egress)


@pytest.mark.parametrize(
    ("command", "reason"),
    [
        ("egress add 192.0.2.77", "is not an address of this machine"),
        ("egress add localhost", "is not an IP address"),
        ("egress add 192.0.2.77 --host out1.example.com", "Use host:port"),
        ("egress add ::ffff:127.0.0.1", "cannot be used as a source address"),
        ("egress add fe80::1%lo", "cannot be used as a source address"),
        ("egress add 127.0.0.5 --pool nowhere", "There is no pool 'nowhere'"),
        ("egress add 127.0.0.5 --warmup steep", "There is no ramp 'steep'. Use default"),
        ("egress show 127.0.0.99", "There is no egress source 127.0.0.99"),
        ("warmup start 127.0.0.99", "There is no egress source 127.0.0.99"),
        ("overrides set --site yahoo", "Name an egress source and a site"),
        ("overrides set --tenant shop --site a/b", "site:"),
        ("overrides set --tenant shop --site yahooo", "the site is unknown"),
        ("overrides remove nobody/knows", "No override nobody/knows is in force"),
    ],
)
def test_an_error_is_one_line_with_the_reason(shell: Shell, command: str, reason: str) -> None:
    assert reason in shell.refused(*command.split())


def test_a_source_is_paused_for_a_time_and_resumed(shell: Shell) -> None:
    egress = shell.obm("egress", "add", "127.0.0.60")
    assert "active" in line_of(shell.obm("egress", "list"), egress)
    for hours in ((), ("--hours", "4")):
        shell.obm("egress", "pause", "127.0.0.60", *hours)
        assert "suspended" in line_of(shell.obm("egress", "list"), egress)
        assert ("until" in shell.obm("egress", "show", egress)) == bool(hours)
        shell.obm("egress", "resume", egress)
        assert "active" in line_of(shell.obm("egress", "list"), egress)
    shell.obm("egress", "remove", egress)
    assert egress not in shell.obm("egress", "list")


def test_a_new_source_is_warmed_up_paused_and_finished(shell: Shell) -> None:
    """Each command sees what the one before has done, whether the scheduler has obeyed or not."""
    egress = shell.obm("egress", "add", "127.0.0.61", "--warmup", "tiny")
    shown = line_of(shell.obm("warmup", "show"), egress)
    for cell in ("127.0.0.61", "ramping", "1 of 2", "200"):
        assert cell in shown
    for action, status in (("pause", "paused"), ("resume", "ramping"), ("finish", "finished")):
        shell.obm("warmup", action, "127.0.0.61")
        assert status in line_of(shell.obm("warmup", "show"), egress)
    assert "The warmup is finished" in shell.refused("warmup", "pause", egress)
    shell.obm("warmup", "lower", egress, "2")
    assert "ramping" in line_of(shell.obm("warmup", "show"), egress)
    assert "not lower" in shell.refused("warmup", "lower", egress, "2")
    shell.obm("warmup", "start", egress)
    assert "1 of 2" in line_of(shell.obm("warmup", "show", "--sites"), egress)
    shell.obm("egress", "remove", egress)


def test_a_source_without_a_warmup_is_warm(shell: Shell) -> None:
    egress = shell.obm("egress", "add", "127.0.0.62")
    assert egress not in shell.obm("warmup", "show")
    assert "not warming up" in shell.refused("warmup", "pause", egress)
    assert "no ramp" in shell.refused("warmup", "start", egress, "--ramp", "steep")
    shell.obm("egress", "remove", egress)


def test_the_state_of_a_source_and_its_problems_are_shown(
    shell: Shell, database: FreshDatabase
) -> None:
    shell.obm("pool", "add", "acme")
    in_acme = ("--pool", "acme", "--ehlo", "out.acme.example")
    assert "Pool acme has no usable egress source: its mail waits (no_egress)" in shell.obm(
        "egress", "list"
    )
    egress = shell.obm("egress", "add", "127.0.0.65", *in_acme, "--warmup", "tiny")
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
    )
    give(database, PolicyCommand(source_check=found))
    give(database, PolicyCommand(listing_check=listing_of(egress)))
    for cell in ("suspended", "listed ptr_missing"):
        assert cell in line_of(shell.obm("egress", "list"), egress)
    shown = shell.obm("egress", "show", "127.0.0.65")
    for text in (
        advice,
        "127.0.0.65 in zen since",
        "See https://zen.example/",
        "stage 1 of 2",
        "0 of 200 used today",
    ):
        assert text in shown
    shell.obm("egress", "remove", egress)
    assert egress not in shell.obm("egress", "list")


def listing_of(egress: str) -> ListingCheck:
    found = FoundListing(
        blocklist="zen", listed=True, address="127.0.0.65", codes=["127.0.0.4"], weight=8.0,
        meaning="an infected machine", text="See https://zen.example/",
    )  # fmt: skip
    return ListingCheck(egress_id=egress, checked_at=timestamp(time.time()), listings=[found])


def give(database: FreshDatabase, command: PolicyCommand) -> None:
    """As the checks of the router do."""

    async def append() -> None:
        connections = Database(database.system("router"), name="test", connections_max=1)
        async with connections.transaction() as tx:
            await results.append(tx, Results(commands=[command]))
        await connections.close()

    asyncio.run(append())


def test_an_override_is_set_listed_and_removed(shell: Shell) -> None:
    egress = shell.obm("egress", "add", "127.0.0.64")
    name = shell.obm("overrides", "set", "--egress", egress, "--site", "yahoo", "--hours", "4")
    assert f"egress_site/{egress}/yahoo" in name
    assert "suspend_site" in line_of(shell.obm("overrides", "list"), name)
    slow = ("--tenant", "shop", "--per-minute", "60", "--reason", "wrong list")
    slower = shell.obm("overrides", "set", *slow)
    assert re.search(
        r"slow_down +│ 60 .* wrong list", line_of(shell.obm("overrides", "list"), slower)
    )
    for one in (name, slower):
        shell.obm("overrides", "remove", one)
        assert one not in shell.obm("overrides", "list")
    assert "is in force" in shell.refused("overrides", "remove", name)
    shell.obm("egress", "remove", egress)


def test_each_act_is_in_the_audit_log(shell: Shell, api: Api) -> None:
    egress = shell.obm("egress", "add", "127.0.0.66", "--ehlo", "out.example")
    name = shell.obm("overrides", "set", "--egress", egress, "--site", "yahoo")
    [override] = [one for one in api.items("/overrides") if one["name"] == name]
    shell.obm("overrides", "remove", name)
    shell.obm("egress", "pause", egress)
    shell.obm("egress", "resume", egress)
    shell.obm("warmup", "start", egress)
    shell.obm("egress", "remove", egress)
    of_these = (egress, override["id"])
    acts = [one for one in api.items("/audit") if one["resource_id"] in of_these][::-1]
    assert [one["action"] for one in acts] == [
        *("ip.create", "override.create", "override.delete"),
        *("ip.update", "ip.resume", "ip.warmup_start", "ip.delete"),
    ]
    assert {one["actor"]["kind"] for one in acts} == {"operator"}
    created, paused, removed = acts[0], acts[3], acts[-1]
    assert (created["before"], created["after"]["ehlo"]) == (None, "out.example")
    assert ("paused" in paused["before"], paused["after"]["paused"]) == (False, True)
    assert removed["after"] is None


def test_acts_on_pools_and_limits_are_in_the_audit_log(shell: Shell, api: Api) -> None:
    pool = shell.obm("pool", "add", "audited")
    shell.obm("pool", "set-overflow", "audited", "default")
    shell.obm("pool", "remove", "audited")
    shell.obm("limits", "set", "site/yahoo", "--per-minute", "600")
    acts = [one for one in api.items("/audit") if one["resource"] in {"pool", "limits"}][:4][::-1]
    assert [one["action"] for one in acts] == [
        *("pool.create", "pool.update", "pool.delete", "limits.set")
    ]
    assert {one["resource_id"] for one in acts[:3]} == {pool}
    assert (acts[2]["before"]["name"], acts[2]["after"]) == ("audited", None)
    assert (acts[3]["after"]["scope"], acts[3]["after"]["per_minute"]) == ("site/yahoo", 600)
    shell.obm("limits", "remove", "site/yahoo")
    removed = next(one for one in api.items("/audit") if one["resource"] == "limits")
    assert removed["before"]["per_minute"] == 600
    assert "per_minute" not in removed["after"]


def test_what_was_acknowledged_survives_the_end_of_router_and_ingest(
    engine: Engine, shell: Shell, database: FreshDatabase
) -> None:
    """The router has it in its database: its outbox publishes it, and the scheduler obeys."""
    egress = shell.obm("egress", "add", "127.0.0.67", "--warmup", "tiny")
    name = shell.obm("overrides", "set", "--egress", egress, "--site", "yahoo")
    for service in ("router", "ingest"):
        engine.processes[service].kill()
    for service in ("router", "ingest"):
        engine.processes[service].start()
    for service in ("router", "ingest"):
        engine.processes[service].await_ready()
    assert "ramping" in line_of(shell.obm("warmup", "show"), egress)
    assert "suspend_site" in line_of(shell.obm("overrides", "list"), name)
    until(lambda: count(database, "results") == 0)
    until(lambda: count(database, "outbox") == 0)
    assert "ramping" in line_of(shell.obm("warmup", "show"), egress)
    assert "suspend_site" in line_of(shell.obm("overrides", "list"), name)


def count(database: FreshDatabase, table: str) -> int:
    with database.connect() as owner:
        row = owner.execute(f"SELECT count(*) FROM router.{table}".encode()).fetchone()
    assert row
    return int(str(row[0]))


def test_an_act_without_a_response_is_recorded_when_it_is_repeated(
    engine: Engine, shell: Shell, api: Api
) -> None:
    """Ingest dies after the router has obeyed, and before it adds the entry of the audit log."""
    egress = shell.obm("egress", "add", "127.0.0.68")
    ingest = engine.processes["ingest"]
    ingest.kill()
    ingest.start(OBM_FAILPOINTS="ingest.act.obeyed=kill")
    ingest.await_ready()
    assert "does not respond" in shell.refused("egress", "pause", egress)
    ingest.start()
    ingest.await_ready()
    assert api.get(f"/ips/{egress}")["paused"]
    recorded = [one["action"] for one in api.items("/audit") if one["resource_id"] == egress]
    assert recorded == ["ip.create"]
    shell.obm("egress", "pause", egress)
    [last, _] = [one for one in api.items("/audit") if one["resource_id"] == egress]
    assert (last["action"], last["after"]["paused"]) == ("ip.update", True)
