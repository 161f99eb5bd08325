"""Test mail and live mail of one tenant do not answer for one another."""

from pathlib import Path

import pytest

from tests.support.ingest import House, play
from tests.support.pair import FreshDatabase


@pytest.fixture
def house(
    bootstrap_servers: str, topic_prefix: str, database: FreshDatabase, tmp_path: Path
) -> House:
    return House(bootstrap_servers, topic_prefix, database, tmp_path)


def test_a_key_used_in_test_does_not_answer_for_live_mail(house: House) -> None:
    async def story() -> None:
        async with house.running():
            live = await house.enrol(test=False)
            made = await house.ask("POST", "/v1/api-keys", {"name": "test", "test": True})
            key = {"Idempotency-Key": "order-17"}
            house.key = made.json["token"]
            tried = await house.send(http_headers=key)
            house.key = live
            sent = await house.send(to="ann@customer-lab.net", http_headers=key)
            assert tried.status == sent.status == 202
            assert tried.json["id"] != sent.json["id"]
            assert "idempotent-replayed" not in sent.headers

    play(story())
