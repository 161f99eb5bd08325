"""Day partitions are created by PostgreSQL's clock, whatever else goes on, and nothing is deleted
by its age while the clocks of a machine and of PostgreSQL differ."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from functools import partial
from types import SimpleNamespace
from typing import Any, LiteralString

import pytest

from kernel import clock, metrics
from kernel.database import Database
from kernel.days import DAYS_AHEAD, CreateDays, create_coming_days
from kernel.health import DependencyHealth
from kernel.status import StatusSource
from services.delivery.loops import retention as delivery
from services.delivery.store import days
from services.delivery.store.days import JournalDayPartitions
from services.events.loops import retention as events
from services.events.store import days as log_days
from services.events.store.days import LogDayPartitions
from services.ingest.app import health_checks
from services.ingest.loops import retention as ingest
from services.ingest.store.retention import RetentionStore
from services.router.loops import maintenance as router
from services.router.store.day_partitions import DayPartitions
from services.shield.loops.maintenance import CampaignMaintenance
from tests.support.stack import FreshDatabase, opened, temporary_database

RETENTION_DAYS = 30
TODAY = datetime.now(UTC).date()
OLD = TODAY - timedelta(days=RETENTION_DAYS - 10)
TABLES = {"ingest": "messages", "router": "messages", "delivery": "attempts", "events": "log"}
AHEAD: Mapping[LiteralString, Sequence[str]] = {
    "ingest": health_checks.AHEAD,
    "router": ("messages",),
    "delivery": days.TABLES,
    "events": log_days.TABLES,
}
RunOnce = Callable[[], Awaitable[None]]


class Content:
    """removed: whether anything was."""

    def __init__(self) -> None:
        self.removed = False

    async def remove_expired(self, _: date) -> list[str]:
        self.removed = True
        return []


async def none_longer(_: int) -> Mapping[str, int]:
    return {}


def maintenance_of(service: str, database: Database, content: Any) -> RunOnce:  # noqa: ANN401
    kept: dict[str, RunOnce] = {
        "ingest": ingest.RetentionMaintenance(
            RetentionStore(database, retention_days=RETENTION_DAYS),
            content,
            lease=SimpleNamespace(fence=1),  # type: ignore[arg-type]
            health=DependencyHealth(),
        ).run_once,
        "router": router.RetentionMaintenance(
            database,
            DayPartitions(),
            retention_days=RETENTION_DAYS,
            is_leader=lambda: True,
        ).run_once,
        "delivery": delivery.RetentionMaintenance(
            database,
            JournalDayPartitions(database, retention_days=RETENTION_DAYS),
            sandbox_retention_days=RETENTION_DAYS,
        ).run_once,
        "events": events.RetentionMaintenance(
            database, log_days=RETENTION_DAYS, kept_longer=none_longer
        ).run_once,
    }
    return kept[service]


def creation_of(service: str, database: Database) -> RunOnce:
    if service == "ingest":
        return RetentionStore(database, retention_days=RETENTION_DAYS).create_partitions
    if service == "delivery":
        return JournalDayPartitions(database, retention_days=RETENTION_DAYS).create_coming
    create: dict[str, CreateDays] = {
        "router": DayPartitions().days.ensure,
        "events": LogDayPartitions().create,
    }
    return partial(create_coming_days, database, service, create[service])


@pytest.fixture
def empty(database_url: str, migrated_template: str) -> Iterator[FreshDatabase]:
    with temporary_database(database_url, template=migrated_template) as url:
        yield FreshDatabase(url)


def days_of(database: FreshDatabase, service: str) -> set[object]:
    with database.connect() as connection:
        query = f"SELECT {service}.day_partitions('{TABLES[service]}')"
        return {day for (day,) in connection.execute(query.encode()).fetchall()}


def create_old_day(database: FreshDatabase, service: str) -> None:
    tables = {"ingest": ("messages", "emails"), "events": ("log", "state")}
    with database.connect() as connection:
        for table in tables.get(service, (TABLES[service],)):
            query = f"SELECT {service}.ensure_day_partition('{table}', '{OLD}')"
            connection.execute(query.encode())


def drop_days(database: FreshDatabase, service: str, suffix: str = "") -> None:
    """All that there are, or those of a day."""
    found = (
        "SELECT inhrelid::regclass::text FROM pg_inherits JOIN pg_class ON oid = inhrelid"
        " WHERE relkind = 'r' AND inhrelid::regclass::text ~ %s"
    )
    with database.connect() as connection:
        for (name,) in connection.execute(
            found.encode(), (f"^{service}[.].*{suffix}$",)
        ).fetchall():
            connection.execute(f"DROP TABLE {name}".encode())


@pytest.mark.parametrize("service", TABLES)
async def test_no_day_is_dropped_early(
    empty: FreshDatabase, monkeypatch: pytest.MonkeyPatch, service: str
) -> None:
    create_old_day(empty, service)
    content = Content()
    async with opened(empty.system(service)) as database:
        run_once = maintenance_of(service, database, content)
        moment = datetime.now(UTC) + timedelta(days=RETENTION_DAYS)
        with monkeypatch.context() as ahead:
            ahead.setattr(clock, "now", lambda: moment)
            await run_once()
        assert OLD in days_of(empty, service)
        assert not content.removed
        await run_once()
    assert OLD in days_of(empty, service), "it is younger than the retention"
    assert content.removed == (service == "ingest")


@pytest.mark.parametrize("service", AHEAD)
async def test_the_days_that_the_health_check_expects_are_created(
    empty: FreshDatabase, service: LiteralString
) -> None:
    drop_days(empty, service)
    async with opened(empty.system(service)) as database:
        status = StatusSource([], database, service, AHEAD[service])
        assert (await status.read()).missing_partitions == first_days(service, TODAY)
        await creation_of(service, database)()
        assert not (await status.read()).missing_partitions
        later = TODAY + timedelta(days=2)
        drop_days(empty, service, f"_{later:%Y%m%d}")
        assert (await status.read()).missing_partitions == first_days(service, later)
        end = datetime.combine(TODAY + timedelta(days=DAYS_AHEAD + 1), time(), UTC)
        value = metrics.registry.get_sample_value(
            "obm_day_partitions_end_timestamp_seconds", {"schema": service}
        )
        assert value == end.timestamp()


def first_days(service: LiteralString, day: date) -> list[str]:
    return [f"{table}_{day:%Y%m%d}" for table in sorted(AHEAD[service])]


@pytest.mark.parametrize("service", AHEAD)
async def test_days_are_created_while_a_long_transaction_reads_and_writes(
    empty: FreshDatabase, service: LiteralString
) -> None:
    drop_days(empty, service, f"_{TODAY + timedelta(days=1):%Y%m%d}")
    async with opened(empty.system(service)) as database:
        status = StatusSource([], database, service, AHEAD[service])
        with empty.connect() as connection, connection.transaction():
            for table in AHEAD[service]:
                connection.execute(f"LOCK TABLE {service}.{table} IN ROW EXCLUSIVE MODE".encode())
            await creation_of(service, database)()
        assert not (await status.read()).missing_partitions


async def test_days_are_created_while_the_removal_of_content_hangs(
    empty: FreshDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    drop_days(empty, "ingest", "")
    removes = asyncio.Event()

    class HangingContent(Content):
        async def remove_expired(self, _: date) -> list[str]:
            removes.set()
            await asyncio.Event().wait()
            return []

    async with opened(empty.system("ingest")) as database:
        health = DependencyHealth()
        maintenance = ingest.RetentionMaintenance(
            RetentionStore(database, retention_days=RETENTION_DAYS),
            HangingContent(),  # type: ignore[arg-type]
            lease=SimpleNamespace(fence=1),  # type: ignore[arg-type]
            health=health,
        )
        removal = asyncio.create_task(maintenance.run_once())
        await removes.wait()
        assert ingest.PARTITIONS in health.unavailable
        await maintenance.create_partitions()
        assert ingest.PARTITIONS not in health.unavailable
        removal.cancel()


async def test_mail_of_a_day_that_has_not_come_is_not_accepted(
    empty: FreshDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    moment = datetime.now(UTC) + timedelta(days=10)
    monkeypatch.setattr(clock, "now", lambda: moment)
    async with opened(empty.system("ingest")) as database:
        await RetentionStore(database, retention_days=RETENTION_DAYS).create_partitions()
    assert moment.date() not in days_of(empty, "ingest")


async def test_what_is_known_of_campaigns_stays(
    empty: FreshDatabase, monkeypatch: pytest.MonkeyPatch
) -> None:
    deleted: list[bool] = []

    async def delete_unused(_: object) -> int:
        deleted.append(True)
        return 0

    monkeypatch.setattr("services.shield.store.campaigns.delete_unused", delete_unused)
    async with opened(empty.system("shield")) as database:
        moment = datetime.now(UTC) - timedelta(days=RETENTION_DAYS)
        with monkeypatch.context() as behind:
            behind.setattr(clock, "now", lambda: moment)
            await CampaignMaintenance(database).run_once()
        assert not deleted
        await CampaignMaintenance(database).run_once()
    assert deleted
