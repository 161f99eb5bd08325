"""Figures on real Kafka and PostgreSQL: they are what happened, by every dimension and both times,
also after repeats, kills and a count from the log."""

from collections.abc import Sequence
from datetime import UTC, date, datetime
from math import isnan
from pathlib import Path
from random import Random
from typing import Any
from uuid import uuid4

import pytest

from contracts.events.v1.events_service_pb2 import MetricsFilter
from kernel.database import Database
from kernel.embedded.folder import free_port
from kernel.rpc import RpcError
from services.events.domain.figures.definitions import (
    COUNTER_NAMES,
    CUBES,
    VALUES_MAX,
)
from services.events.store.figures.deltas import COLUMNS
from services.events.store.figures.recount import recount_day
from tests.support.events import TOKEN, Running, ScenarioRunner, run_scenario
from tests.support.figure_counts import count
from tests.support.figure_queries import (
    counted,
    metrics,
    period_of,
    publish,
    utc_day,
    wait_counted,
    wait_folded,
)
from tests.support.figures import Life, lives
from tests.support.forked_process import ForkedProcess
from tests.support.keys import SECRET_KEY
from tests.support.stack import FreshDatabase

__all__ = ["run_scenario"]
COMBINATIONS = [
    (),
    ("period",),
    ("tenant",),
    *(cube.dimensions for cube in CUBES),
    *(("period", *cube.dimensions) for cube in CUBES),
    ("tenant", "period", "domain"),
    ("stream",),
    ("ip",),
]


async def check_everything(events: Running, some: Sequence[Life], now: datetime) -> None:
    whole = {"account_id": some[0].account_id, **period_of(now)}
    for by in ("event", "sent"):
        for dimensions in COMBINATIONS:
            response = await metrics(events, dimensions=dimensions, by=by, **whole)
            wanted = count(some, dimensions, by=by, label=utc_day)
            assert counted(response) == wanted, (by, dimensions)
        hourly = await metrics(
            events, dimensions=["period", "site"], by=by, granularity="hourly", **whole
        )
        labels = count(some, ["period", "site"], by=by, label=utc_hour)
        assert counted(hourly) == labels, by


def utc_hour(moment: datetime) -> str:
    hour = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return hour.isoformat(timespec="seconds")


def test_figures_are_what_happened_also_when_all_of_it_is_published_again(
    run_scenario: ScenarioRunner,
) -> None:
    async def scenario(events: Running) -> None:
        random, now = Random(7), datetime.now(UTC)
        tenants = [str(uuid4()), str(uuid4())]
        some = lives(random, 250, tenants=tenants, now=now)
        await publish(events, some, random)
        await wait_counted(events, some)
        await check_everything(events, some, now)
        sum_before = events.rows("SELECT sum(accepted), sum(bytes) FROM events.stats_day")
        await publish(events, some, random)
        last = lives(random, 1, tenants=tenants, now=now)
        await events.publish(*last[0].events)
        await wait_counted(events, [*some, *last])
        assert sum_before != [(0, 0)]
        await check_everything(events, [*some, *last], now)
        await check_filters(events, [*some, *last], now)
        await check_emails(events, [*some, *last], now)

    run_scenario.shared(scenario)


async def check_filters(events: Running, some: Sequence[Life], now: datetime) -> None:
    tenant_id = some[0].tenant_id
    filters = {
        "domain": [some[0].domain_id],
        "site": ["google", "yahoo"],
        "tag": ["color:red"],
        "bounce_class": ["invalid_recipient"],
        "recipient_domain": ["b.example"],
    }
    for name, values in filters.items():
        key = f"{name}_id" if name == "domain" else name
        response = await metrics(
            events,
            tenant_id=tenant_id,
            dimensions=[name],
            filters=[MetricsFilter(name=key, values=values)],
            **period_of(now),
        )
        own = [life for life in some if life.tenant_id == tenant_id]
        wanted = {k: v for k, v in count(own, [name]).items() if k[0] in values}
        assert counted(response) == wanted, name


async def check_emails(events: Running, some: Sequence[Life], now: datetime) -> None:
    """Of an email the figures come from its messages."""
    tenant_id = some[0].tenant_id
    chosen = [life for life in some if life.tenant_id == tenant_id and not life.test][:5]
    for by in ("event", "sent"):
        response = await metrics(
            events,
            tenant_id=tenant_id,
            dimensions=["email", "period"],
            by=by,
            filters=[MetricsFilter(name="email_id", values=[one.email_id for one in chosen])],
            **period_of(now),
        )
        wanted = {}
        for life in chosen:
            for keys, counts in count([life], ["period"], by=by, label=utc_day).items():
                wanted[life.email_id, *keys] = counts
        assert counted(response) == wanted


@pytest.mark.parametrize("place", ["in_transaction", "committed"])
def test_figures_are_counted_once_when_the_folding_process_is_killed(
    place: str,
    run_scenario: ScenarioRunner,
    bootstrap_servers: str,
    database: FreshDatabase,
    topic_prefix: str,
    tmp_path: Path,
) -> None:
    environment = {
        "OBM_KAFKA_BOOTSTRAP_SERVERS": bootstrap_servers,
        "OBM_KAFKA_TOPIC_PREFIX": topic_prefix,
        "OBM_SECRET_KEYS": SECRET_KEY,
        "OBM_RPC_TOKEN": TOKEN,
        "EVENTS_SYSTEM_DATABASE_URL": database.system("events"),
        "EVENTS_TENANT_DATABASE_URL": database.tenant("events"),
        "EVENTS_RPC_LISTEN": f"127.0.0.1:{free_port()}",
        "EVENTS_HEALTH_LISTEN": f"127.0.0.1:{free_port()}",
    }
    random, now = Random(3), datetime.now(UTC)
    some = lives(random, 60, tenants=[str(uuid4())], now=now)

    async def first(events: Running) -> None:
        await publish(events, some[:30], random)
        await wait_counted(events, some[:30])

    async def second(events: Running) -> None:
        await publish(events, some, random)
        await wait_counted(events, some)
        await check_everything(events, some, now)

    run_scenario(first)
    process = ForkedProcess("events", environment, tmp_path / "events.log")
    process.start(OBM_FAILPOINTS=f"events.figures.{place}=kill")
    process.wait(300)
    run_scenario(second)


def test_a_count_of_the_log_finds_what_differs(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        random, now = Random(11), datetime.now(UTC)
        some = lives(random, 80, tenants=[str(uuid4())], now=now)
        await publish(events, some, random)
        await wait_counted(events, some)
        days = {life.accepted_at.date() for life in some}
        database = Database(events.database.system("events"), connections_max=1, name="test")
        try:
            found = [await recount_day(database, day) for day in days]
            assert sum(one.messages for one in found) >= len(some)
            assert [one.differences for one in found] == [[]] * len(days)
            day = next(life.accepted_at.date() for life in some if not life.test)
            with events.database.connect() as connection:
                connection.execute(
                    "UPDATE events.stats_day SET accepted = accepted + 1 WHERE axis = 1"
                    " AND cube = 2 AND day = %s AND tenant_id = %s AND dimensions = %s",
                    ((day - date(1970, 1, 1)).days, some[0].tenant_id, [""]),
                )
            [difference] = (await recount_day(database, day)).differences
        finally:
            await database.close()
        assert difference.row.measure == "accepted"
        assert difference.in_roll_ups == difference.in_log + 1

    run_scenario.shared(scenario)


def test_rates_times_and_machines_are_metrics_too(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        random, now = Random(9), datetime.now(UTC)
        some = lives(random, 120, tenants=[str(uuid4())], now=now)
        await publish(events, some, random)
        await wait_counted(events, some)
        names = ["delivery_rate", "open_rate", "inboxed_net", "time_to_delivery_p50_s", "received"]
        whole = {"tenant_id": some[0].tenant_id, **period_of(now)}
        response = await metrics(events, metrics=names, **whole)
        rate, opens, net, median_s, received = response.totals
        [counts] = count(some, []).values()
        assert rate == pytest.approx(counts["delivered"] / counts["sent"], abs=1e-6)
        assert opens == pytest.approx(counts["unique_opened"] / counts["delivered"], abs=1e-6)
        assert net == counts["delivered"] - counts["bounced_async"]
        assert received == 0
        assert median_s == pytest.approx(exact_median_s(some), rel=0.2)
        with_machines = await metrics(
            events, metrics=["opened", "unique_clicked"], include_machine=True, **whole
        )
        assert list(with_machines.totals) == [
            counts["opened"] + counts["machine_opened"],
            counts["unique_clicked"] + counts["machine_unique_clicked"],
        ]
        nobody = await metrics(events, tenant_id=str(uuid4()), metrics=["open_rate", "sent"])
        assert isnan(nobody.totals[0])
        assert nobody.totals[1] == 0

    run_scenario.shared(scenario)


def exact_median_s(some: Sequence[Life]) -> float:
    found: list[float] = []
    for life in some:
        ends = [one for one in life.events if getattr(one, "outcome", 0) == 1]
        for one in () if life.test else ends:
            at: Any = one
            ended = at.attempted_at.ToDatetime(UTC)
            found.append((ended - max(life.accepted_at, life.due_at)).total_seconds())
    found.sort()
    return found[len(found) // 2]


def test_what_cannot_be_combined_is_refused_with_the_name_of_the_field(
    run_scenario: ScenarioRunner,
) -> None:
    async def scenario(events: Running) -> None:
        wrong: dict[str, dict[str, Any]] = {
            "metrics": {"metrics": ["nonsense"]},
            "dimensions": {"dimensions": ["site", "tag"]},
            "granularity": {"dimensions": ["period", "tag"], "granularity": "hourly"},
            "timezone": {"timezone": "Mars/Olympus"},
            "start_date": {"start_date": "yesterday"},
            "by": {"by": "open"},
            "email_id": {"filters": [MetricsFilter(name="email_id", values=["1"])]},
        }
        for field, fields in wrong.items():
            with pytest.raises(RpcError) as refused:
                await metrics(events, tenant_id=str(uuid4()), **fields)
            assert refused.value.field == field

    run_scenario.shared(scenario)


def test_the_tags_of_a_day_beyond_the_maximum_are_one(run_scenario: ScenarioRunner) -> None:
    async def scenario(events: Running) -> None:
        now, tenant_id = datetime.now(UTC), str(uuid4())
        some = lives(Random(4), 1, tenants=[tenant_id], now=now)
        await publish(events, some, Random(4))
        await wait_counted(events, some)
        hour = int(now.timestamp()) // 3600
        columns = dict.fromkeys(COLUMNS.split(", "), "''")
        columns |= dict.fromkeys(("first_attempt", "delivery", *COUNTER_NAMES), "NULL")
        columns |= {
            "tenant_id": f"'{tenant_id}'", "cohort": str(hour), "hour": str(hour),
            "tags": "ARRAY['order:' || n]", "accepted": "1",
        }  # fmt: skip
        with events.database.connect() as connection:
            connection.execute(
                f"INSERT INTO events.stats_deltas ({', '.join(columns)})"
                f" SELECT {', '.join(columns.values())} FROM generate_series(1, %s) AS n".encode(),
                (VALUES_MAX + 100,),
            )
        await wait_folded(events)
        found = counted(
            await metrics(events, tenant_id=tenant_id, dimensions=["tag"], **period_of(now))
        )
        orders = [keys for keys in found if keys[0].startswith("order:")]
        assert VALUES_MAX - 5 < len(orders) <= VALUES_MAX
        assert len(orders) + found[("other",)]["accepted"] == VALUES_MAX + 100

    run_scenario.shared(scenario)
