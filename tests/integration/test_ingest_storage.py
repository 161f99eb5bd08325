"""One tenant cannot fill the content store for all."""

from services.ingest.store.retention import EXPIRE_CONTENT_USAGE
from tests.support.ingest import IngestHarness
from tests.support.polling import until
from tests.support.stack import harness_fixture

harness = harness_fixture(IngestHarness, scope="function")


async def test_a_tenant_over_its_storage_limit_is_refused_until_content_expires(
    harness: IngestHarness,
) -> None:
    harness.extra = {"tenant_content_gb_max": 5e-6, "outbox_check_interval_s": 0.05}
    async with harness.running():
        other = await harness.sign_up(domain="other.obm-sandbox.net")
        await harness.sign_up()

        async def full() -> bool:
            response = await harness.send(text="x" * 600)
            if response.status == 429:
                assert response.json["name"] == "storage_quota_exceeded"
                assert response.headers["retry-after"]
            return response.status == 429

        await until(full)
        mine = harness.key
        harness.key = other
        sent = await harness.send(**{"from": "Shop <hello@other.obm-sandbox.net>"})
        assert sent.status == 202
        harness.key = mine
        with harness.database.connect() as connection:
            connection.execute("UPDATE ingest.content_usage SET last_day = current_date - 1")

        async def free() -> bool:
            return (await harness.send()).status == 202

        await until(free)
    with harness.database.connect() as connection:
        assert connection.execute(EXPIRE_CONTENT_USAGE, (10,)).rowcount > 0
        stored = connection.execute("SELECT tenant_id::text FROM ingest.content_usage").fetchall()
    assert (harness.tenant_id,) in stored  # the latest requests are counted at shutdown
