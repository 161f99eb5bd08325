"""delivery while the volume with the bodies is not mounted."""

import asyncio
from pathlib import Path

import pytest

from contracts.delivery.v1.events_pb2 import (
    ATTEMPT_OUTCOME_DELIVERED,
    ATTEMPT_OUTCOME_PERMANENT,
    ATTEMPT_OUTCOME_TEMPORARY,
)
from kernel.embedded.folder import free_port
from tests.support.delivery import House, a_content
from tests.support.stack import FreshDatabase


@pytest.fixture
def house(
    bootstrap_servers: str, topic_prefix: str, database: FreshDatabase, tmp_path: Path
) -> House:
    listen = f"127.0.0.1:{free_port()}"
    return House(
        bootstrap_servers,
        topic_prefix,
        database,
        tmp_path,
        settings={"sandbox_listen": listen, "relay_allowed_networks": []},
    )


def test_mail_waits_while_the_content_volume_is_not_mounted(house: House) -> None:
    content, volume = house.folder / "content", house.folder / "volume"

    async def story() -> None:
        at = house.settings["sandbox_listen"]
        async with house.running() as running:
            batch = await house.assigned("in.flight@test.example", at=at, test=True)
            content.rename(volume)
            content.mkdir()  # the empty mount point
            await running.topics.publish(batch)
            async with asyncio.timeout(20):
                while running.service.health.ready:
                    await asyncio.sleep(0.05)
            assert await running.topics.answers(batch, within_s=2.0) == []
            content.rmdir()
            volume.rename(content)
            [answer] = await running.topics.answers(batch)
            assert answer.outcome == ATTEMPT_OUTCOME_DELIVERED
            async with asyncio.timeout(20):
                while not running.service.health.ready:
                    await asyncio.sleep(0.05)

    asyncio.run(story())


def test_one_lost_segment_delays_its_own_mail_alone(house: House) -> None:
    """Until its last day is over: then the body is gone for good."""
    at = house.settings["sandbox_listen"]

    async def story() -> None:
        async with house.running() as running:
            [good] = await house.assigned("good@test.example", at=at, test=True)
            lost, expired = a_content(), a_content()
            nowhere = "0" * 36
            day = good.context.content_ref.split("/")[1]
            batch = [
                house.assignment(name, one, f"now/{until}/{nowhere}:0:9", at=at, test=True)
                for name, one, until in (
                    ("lost@test.example", lost, day),
                    ("expired@test.example", expired, "2020-01-31"),
                )
            ]
            answers = await running.send([*batch, good])
            assert {name: one.outcome for name, one in answers.items()} == {
                "good@test.example": ATTEMPT_OUTCOME_DELIVERED,
                "lost@test.example": ATTEMPT_OUTCOME_TEMPORARY,
                "expired@test.example": ATTEMPT_OUTCOME_PERMANENT,
            }
            assert running.service.health.ready

    asyncio.run(story())
