"""delivery while the content volume is not mounted or lacks a segment."""

import asyncio
from pathlib import Path

import pytest

from contracts.delivery.v1.events_pb2 import (
    ATTEMPT_OUTCOME_DELIVERED,
    ATTEMPT_OUTCOME_PERMANENT,
    ATTEMPT_OUTCOME_TEMPORARY,
)
from kernel.embedded.folder import free_port
from services.delivery import app
from tests.support.delivery import Harness, make_content
from tests.support.stack import FreshDatabase


@pytest.fixture
def harness(
    bootstrap_servers: str, topic_prefix: str, database: FreshDatabase, tmp_path: Path
) -> Harness:
    listen = f"127.0.0.1:{free_port()}"
    return Harness(
        bootstrap_servers,
        topic_prefix,
        database,
        tmp_path,
        settings={"sandbox_listen": listen, "relay_allowed_networks": []},
    )


async def test_mail_waits_while_the_content_volume_is_not_mounted(
    harness: Harness, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(app, "MOUNT_CHECK_INTERVAL_S", 0.2)
    content, volume = harness.folder / "content", harness.folder / "volume"

    at = harness.settings["sandbox_listen"]
    async with harness.running() as running:
        batch = await harness.assign("in.flight@test.example", at=at, test=True)
        content.rename(volume)
        content.mkdir()  # the empty mount point
        await running.topics.publish(batch)
        async with asyncio.timeout(240):
            while running.service.health.ready:
                await asyncio.sleep(0.05)
        assert await running.topics.results(batch, within_s=2.0) == []
        content.rmdir()
        volume.rename(content)
        [result] = await running.topics.results(batch)
        assert result.outcome == ATTEMPT_OUTCOME_DELIVERED
        async with asyncio.timeout(240):
            while not running.service.health.ready:
                await asyncio.sleep(0.05)


async def test_a_missing_segment_delays_only_its_own_mail(harness: Harness) -> None:
    """After the retention of its content has ended, a message fails permanently."""
    at = harness.settings["sandbox_listen"]

    async with harness.running() as running:
        [good] = await harness.assign("good@test.example", at=at, test=True)
        lost, expired = make_content(), make_content()
        missing_segment = "0" * 36
        day = good.context.content_ref.split("/")[1]
        batch = [
            harness.create_assignment(
                name, one, f"now/{expires_on}/{missing_segment}:0:9", at=at, test=True
            )
            for name, one, expires_on in (
                ("lost@test.example", lost, day),
                ("expired@test.example", expired, "2020-01-31"),
            )
        ]
        results = await running.send([*batch, good])
        assert {name: one.outcome for name, one in results.items()} == {
            "good@test.example": ATTEMPT_OUTCOME_DELIVERED,
            "lost@test.example": ATTEMPT_OUTCOME_TEMPORARY,
            "expired@test.example": ATTEMPT_OUTCOME_PERMANENT,
        }
        assert running.service.health.ready
