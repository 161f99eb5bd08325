"""One tenant does not fill the content store for all."""

from pathlib import Path

import pytest

from services.ingest.store.retention import EXPIRE_STORED
from tests.support.ingest import House, play, until
from tests.support.pair import FreshDatabase


@pytest.fixture
def house(
    bootstrap_servers: str, topic_prefix: str, database: FreshDatabase, tmp_path: Path
) -> House:
    return House(bootstrap_servers, topic_prefix, database, tmp_path)


def test_a_tenant_with_too_much_stored_is_refused_until_its_bodies_have_gone(house: House) -> None:
    async def story() -> None:
        house.extra = {"tenant_content_gb_max": 5e-6, "outbox_check_every_s": 0.05}
        async with house.running():
            other = await house.enrol(domain="other.obm-sandbox.net")
            await house.enrol()

            async def full() -> bool:
                answer = await house.send(text="x" * 600)
                if answer.status == 429:
                    assert answer.json["name"] == "storage_quota_exceeded"
                    assert answer.headers["retry-after"]
                return answer.status == 429

            await until(full)
            mine = house.key
            house.key = other
            sent = await house.send(**{"from": "Shop <hello@other.obm-sandbox.net>"})
            assert sent.status == 202
            house.key = mine
            with house.database.connect() as connection:
                connection.execute("UPDATE ingest.stored SET last_day = current_date - 1")

            async def free() -> bool:
                return (await house.send()).status == 202

            await until(free)
        with house.database.connect() as connection:
            assert connection.execute(EXPIRE_STORED, (10,)).rowcount > 0
            kept = connection.execute("SELECT tenant_id::text FROM ingest.stored").fetchall()
        assert (house.tenant_id,) in kept  # what was sent last is counted on the way out

    play(story())
