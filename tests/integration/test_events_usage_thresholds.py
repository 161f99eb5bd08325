"""An account gets an event when it passes a share of its plan, once, also if a process dies between
the commit and the publication."""

from datetime import UTC, datetime
from pathlib import Path
from random import Random
from uuid import uuid4

import pytest

from contracts.events.v1.events_pb2 import UsageThresholdReached
from contracts.ingest.v1.directory_pb2 import Account as AccountRecord
from kernel.embedded.folder import free_port
from services.events.domain.log_event import EventKind
from tests.integration.test_events_account_webhooks import Account
from tests.integration.test_events_usage import sent_of
from tests.support.events import TOKEN, Running, ScenarioRunner, run_scenario, until
from tests.support.figure_queries import publish, wait_counted
from tests.support.figures import Life, lives
from tests.support.forked_process import ForkedProcess
from tests.support.keys import SECRET_KEY
from tests.support.receiver import receiving
from tests.support.stack import FreshDatabase

__all__ = ["run_scenario"]
PRICES = """
currency = "EUR"
[[prices]]
effective_from = 2020-01-01
[prices.plans.small]
name = "Small"
fee = "0"
meters = { sends = { included = 50, tiers = [{ amount = "1" }] } }
"""
LOGGED = "SELECT payload FROM events.unpartitioned_log WHERE kind = %s AND tenant_id = %s"


@pytest.fixture
def prices_file(tmp_path: Path) -> str:
    path = tmp_path / "prices.toml"
    path.write_text(PRICES)
    return str(path)


async def set_plan(events: Running, account_id: str, plan: str) -> None:
    events.kafka.declare(AccountRecord)
    await events.publish(AccountRecord(account_id=account_id, version=1, plan=plan))


def reached(events: Running, account_id: str) -> list[UsageThresholdReached]:
    rows = events.rows(LOGGED, (int(EventKind.USAGE), account_id))
    found = [UsageThresholdReached.FromString(bytes(payload)) for (payload,) in rows]
    return sorted(found, key=lambda one: one.percent)


def sent_lives(
    random: Random, number: int, tenants: list[str], *, account_id: str = ""
) -> list[Life]:
    """Live messages that were sent in one month, whatever the date is."""
    some = lives(random, number * 10, tenants=tenants, now=datetime.now(UTC))
    for life in some if account_id else ():
        life.account_id = life.events[0].account_id = account_id  # type: ignore[attr-defined]
    months = {month_of(life): 0 for life in some}
    for life in some:
        months[month_of(life)] += 1
    most = max((month for month in months if month), key=months.__getitem__)
    return [life for life in some if month_of(life) == most][:number]


def month_of(life: Life) -> str:
    """In which it was sent; empty if it was not, or is of test mail."""
    return next((f"{day:%Y-%m}" for _, day in sent_of([life])), "")


def environment_of(database: FreshDatabase, bootstrap_servers: str, prefix: str) -> dict[str, str]:
    """Of a process of events."""
    return {
        "OBM_KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers,
        "OBM_KAFKA_TOPIC_PREFIX": prefix,
        "OBM_SECRET_KEYS": SECRET_KEY,
        "OBM_RPC_TOKEN": TOKEN,
        "EVENTS_SYSTEM_DATABASE_URL": database.system("events"),
        "EVENTS_TENANT_DATABASE_URL": database.tenant("events"),
        "EVENTS_RPC_LISTEN": f"127.0.0.1:{free_port()}",
        "EVENTS_HEALTH_LISTEN": f"127.0.0.1:{free_port()}",
    }


async def wait_checked(events: Running) -> None:
    await until(lambda: not events.rows("SELECT FROM events.usage_months WHERE NOT checked"))


def test_an_account_gets_a_webhook_for_each_threshold_once(
    run_scenario: ScenarioRunner, prices_file: str
) -> None:
    async def scenario(events: Running) -> None:
        random = Random(2)
        mine, other = await Account(events).publish(), await Account(events).publish()
        some = sent_lives(random, 50, mine.tenants, account_id=mine.id)
        for account in (mine, other):
            await set_plan(events, account.id, "small")
        async with receiving() as receiver:
            await mine.create(receiver.url + "/mine", event_types=["usage.threshold"])
            await mine.create(
                receiver.url + "/tenant", tenant=mine.tenants[0], event_types=["usage.threshold"]
            )
            await other.create(receiver.url + "/other", event_types=["usage.threshold"])
            await publish(events, some, random)
            await wait_counted(events, some)
            await wait_checked(events)
            await publish(events, some, random)
            await until(lambda: len(reached(events, mine.id)) == 3)
            last = [one for one in sent_lives(random, 30, mine.tenants, account_id=mine.id)
                    if month_of(one) == month_of(some[0])]  # fmt: skip
            await publish(events, last, random)
            await wait_counted(events, [*some, *last])
            await wait_checked(events)
            await until(lambda: len(receiver.received) >= 4)
            percents = [one.percent for one in reached(events, mine.id)]
            assert percents == [50, 80, 100, 120]
            bodies = [one.json for one in receiver.at("/mine")]
            assert sorted(one["data"]["percent"] for one in bodies) == percents
            assert {one["type"] for one in bodies} == {"usage.threshold"}
            first = next(one["data"] for one in bodies if one["data"]["percent"] == 50)
            assert (first["account_id"], first["meter"], first["limit"]) == (mine.id, "sends", 50)
            assert first["period"] == month_of(some[0])
            assert 25 <= first["used"] <= 50
            assert first["plan"] == "small"

    run_scenario(scenario, prices_file=prices_file)


@pytest.mark.parametrize(
    "place", ["events.usage.in_transaction", "events.outbox.committed", "events.outbox.published"]
)
def test_a_threshold_is_published_when_the_process_dies_between_two_effects(
    place: str,
    run_scenario: ScenarioRunner,
    bootstrap_servers: str,
    database: FreshDatabase,
    topic_prefix: str,
    prices_file: str,
    tmp_path: Path,
) -> None:
    environment = {
        **environment_of(database, bootstrap_servers, topic_prefix),
        "OBM_PRICES_FILE": prices_file,
    }
    random = Random(3)
    some = sent_lives(random, 42, [str(uuid4())])
    account_id = some[0].account_id

    async def first(events: Running) -> None:
        await publish(events, some, random)
        await wait_counted(events, some)
        assert not reached(events, account_id)  # its plan is not known yet
        await set_plan(events, account_id, "small")

    async def second(events: Running) -> None:
        await until(lambda: len(reached(events, account_id)) >= 2)
        await wait_checked(events)
        assert [one.percent for one in reached(events, account_id)] == [50, 80]
        assert {one.used for one in reached(events, account_id)} == {42}

    run_scenario(first)
    process = ForkedProcess("events", environment, tmp_path / "events.log")
    process.start(OBM_FAILPOINTS=f"{place}=kill")
    process.wait(300)
    run_scenario(second, prices_file=prices_file)
