"""Hits while PostgreSQL and Kafka are away and events is killed: every link leads on, and every hit
is in the log once."""

import asyncio
from pathlib import Path

import pytest

from contracts.events.v1.events_pb2 import LinkClicked
from kernel.embedded.folder import free_port
from services.events.domain.log_event import EventKind
from tests.integration.test_events_tracking import publish_delivered
from tests.support.events import Running, ScenarioRunner, run_scenario, until
from tests.support.events_process import environment_of, process_of
from tests.support.links import click_path, link_client
from tests.support.message_events import MessageEvents

__all__ = ["run_scenario"]
MESSAGES, LINKS, CONNECTIONS = 250, 40, 25
AWAY = "127.0.0.1:1"  # nobody listens


@pytest.fixture
def environment(tmp_path: Path, run_scenario: ScenarioRunner) -> dict[str, str]:
    """Of a process of events with the listener."""
    return environment_of(run_scenario) | {
        "EVENTS_TRACKING_LISTEN": f"127.0.0.1:{free_port()}",
        "EVENTS_TRACKING_SPOOL": str(tmp_path / "spool"),
        "EVENTS_TRACKING_LINGER_S": "0",
    }


def port_of(environment: dict[str, str]) -> int:
    return int(environment["EVENTS_TRACKING_LISTEN"].rpartition(":")[2])


def alone(environment: dict[str, str]) -> dict[str, str]:
    """Without its servers."""
    url = f"postgresql://nobody@{AWAY}/obm"
    urls = {"EVENTS_SYSTEM_DATABASE_URL": url, "EVENTS_TENANT_DATABASE_URL": url}
    return environment | {"OBM_KAFKA_BOOTSTRAP_SERVERS": AWAY} | urls


async def follow(port: int, paths: list[str]) -> None:
    """Follow links until each has led on; a connection that breaks is made again."""
    waiting = list(reversed(paths))
    while waiting:
        try:
            async with link_client(port) as client:
                while waiting:
                    assert (await client.request(waiting[-1])).status == 302
                    waiting.pop()
        except (OSError, asyncio.IncompleteReadError):
            await asyncio.sleep(0.05)


def clicks_in(events: Running, messages: list[MessageEvents]) -> int:
    ids = [message.message_id for message in messages]
    [(clicks,)] = events.rows(
        "SELECT coalesce(sum(clicks + machine_clicks), 0)::int FROM events.engagement"
        " WHERE subject_id = ANY(%s::uuid[])",
        (ids,),
    )
    return int(clicks)


def logged_clicks(events: Running, messages: list[MessageEvents]) -> list[LinkClicked]:
    ids = [message.message_id for message in messages]
    rows = events.rows(
        "SELECT payload FROM events.unpartitioned_log WHERE subject_id = ANY(%s::uuid[])"
        " AND kind = %s",
        (ids, int(EventKind.CLICKED)),
    )
    return [LinkClicked.FromString(payload) for (payload,) in rows]


def check_each_once(events: Running, messages: list[MessageEvents], links: int) -> None:
    """A client whose connection broke has clicked again, perhaps in the next minute."""
    found = logged_clicks(events, messages)
    assert len({(one.message_id, one.link) for one in found}) == links
    assert len({(one.message_id, one.link, one.minute) for one in found}) == len(found)
    assert clicks_in(events, messages) == len(found)


async def deliver(events: Running) -> list[MessageEvents]:
    first = await publish_delivered(events)
    some = [MessageEvents(tenant_id=first.tenant_id) for _ in range(MESSAGES - 1)]
    await events.publish(*[event for one in some for event in one.delivered()])
    for message in some:
        await events.wait_recorded(message, 5)
    return [first, *some]


async def follow_alone(environment: dict[str, str], folder: Path, paths: list[str]) -> None:
    """Follow all links while events has no servers, and is killed once."""
    parts = [paths[n::CONNECTIONS] for n in range(CONNECTIONS)]
    port = port_of(environment)
    following = asyncio.gather(*(follow(port, part) for part in parts))
    with process_of(alone(environment), folder):
        await asyncio.wait([following], timeout=1.5)
    with process_of(alone(environment), folder):  # after a kill -9
        await following


def test_ten_thousand_clicks_without_servers_are_ten_thousand_events(
    run_scenario: ScenarioRunner, environment: dict[str, str], tmp_path: Path
) -> None:
    messages: list[MessageEvents] = []

    async def begin(events: Running) -> None:
        messages.extend(await deliver(events))

    run_scenario(begin)
    paths = [
        click_path(message, f"https://shop.example/{number}")
        for number in range(LINKS)
        for message in messages
    ]
    assert len(paths) == 10_000
    run_scenario.run(follow_alone(environment, tmp_path, paths))

    async def count(events: Running) -> None:
        await until(lambda: clicks_in(events, messages) >= len(paths))
        await until(lambda: len(logged_clicks(events, messages)) >= clicks_in(events, messages))
        check_each_once(events, messages, len(paths))

    run_scenario(
        count,
        tracking_listen=environment["EVENTS_TRACKING_LISTEN"],
        tracking_spool=environment["EVENTS_TRACKING_SPOOL"],
    )


@pytest.mark.parametrize(
    "failpoint",
    [
        "events.tracking.synced",
        "events.tracking.in_transaction",
        "events.tracking.committed",
        "events.outbox.committed",
        "events.outbox.published",
    ],
)
def test_a_process_that_dies_anywhere_records_each_hit_once(
    run_scenario: ScenarioRunner, environment: dict[str, str], tmp_path: Path, failpoint: str
) -> None:
    async def scenario(events: Running) -> None:
        message = await publish_delivered(events)
        port = port_of(environment)
        paths = [click_path(message, f"https://shop.example/{number}") for number in range(20)]
        armed = f"{failpoint}=kill"
        with process_of(environment, tmp_path, OBM_FAILPOINTS=armed) as process:
            following = asyncio.create_task(follow(port, paths))
            await until(lambda: not process.running)
            with process_of(environment, tmp_path):
                await following
                await events.wait_recorded(message, 5 + len(paths))
        check_each_once(events, [message], len(paths))

    run_scenario(scenario)
