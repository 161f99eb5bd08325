"""ingest without its broker, with an empty broker, and over days."""

import asyncio
from datetime import timedelta
from typing import Any
from uuid import UUID

import pytest
from aiokafka.admin import AIOKafkaAdminClient

from cli.environment import Ports
from contracts.ingest.v1.directory_pb2 import Account, ApiKey, Domain, Tenant
from contracts.ingest.v1.events_pb2 import MessageAccepted
from kernel import clock, metrics, outbox
from kernel.ids import lower_bound_at
from kernel.outbox import ENTRY_BYTES_MAX, ROW_BYTES_MAX
from kernel.topics import contract_of
from services.ingest.store.retention import RetentionStore
from tests.support.ingest import IngestHarness, email
from tests.support.kafka_clients import options
from tests.support.polling import until
from tests.support.stack import FreshDatabase, harness_fixture, opened

DIRECTORY = (Account, Tenant, ApiKey, Domain)


harness = harness_fixture(IngestHarness, scope="function")


def failures_of_rest() -> float:
    return (
        metrics.registry.get_sample_value("obm_accept_failures_total", {"interface": "rest"}) or 0
    )


@pytest.fixture
def nothing_is_drained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without a broker it would wait in vain."""
    monkeypatch.setattr(outbox, "DRAIN_TIMEOUT_S", 0.1)


@pytest.mark.usefixtures("nothing_is_drained")
async def test_mail_is_accepted_without_kafka_until_the_outbox_is_full_and_published_later(
    harness: IngestHarness,
) -> None:
    harness.extra = {
        "kafka_bootstrap_servers": f"127.0.0.1:{Ports.find_free().sandbox}",
        "outbox_messages_max": 4,  # with the event of the domain
        "outbox_check_interval_s": 0.1,
    }
    sent = []
    failures = failures_of_rest()
    async with harness.running():
        await harness.sign_up()

        async def full() -> bool:
            response = await harness.send()
            if response.status == 202:
                sent.append(response.json["id"])
            else:
                assert (response.status, response.json["name"]) == (503, "service_unavailable")
                assert response.headers["retry-after"]
            return response.status == 503

        await until(full)
    assert len(sent) >= 3
    assert failures_of_rest() == failures + 1
    harness.extra = {}
    async with harness.running():
        for email_id in sent:
            assert await harness.accepted(email_id)
        assert (await harness.send()).status == 202


@pytest.mark.usefixtures("nothing_is_drained")
async def test_the_largest_batch_is_split_into_small_outbox_rows(harness: IngestHarness) -> None:
    """A batch larger than one transaction keeps in memory, with and without an Idempotency-Key."""

    harness.extra = {"kafka_bootstrap_servers": f"127.0.0.1:{Ports.find_free().sandbox}"}
    to = [f"r{number}@one.example" for number in range(50)]
    large = [email(to=to, metadata={"order": "x" * 7_900})] * 50
    async with harness.running():
        await harness.sign_up()
        for headers in ({}, {"Idempotency-Key": "large"}):
            response = await harness.request("POST", "/v1/emails/batch", large, headers=headers)
            assert response.status == 202
        with harness.database.connect() as owner:
            found = owner.execute("SELECT octet_length(records), messages FROM ingest.outbox")
            rows: list[Any] = found.fetchall()
    assert sum(messages for _, messages in rows) == 5_001  # with the event of the domain
    assert sum(octets for octets, _ in rows) > 2 * ENTRY_BYTES_MAX
    assert max(octets for octets, _ in rows) <= ROW_BYTES_MAX
    harness.extra = {}
    async with harness.running():
        all_accepted = await harness.read_events(MessageAccepted)
    mine = [one for one in all_accepted if one.context.tenant_id == harness.tenant_id]
    assert len({one.message_id for one in mine}) == 5_000


async def test_the_directory_is_republished_to_a_broker_that_lost_it(
    harness: IngestHarness,
) -> None:
    harness.extra = {"directory_check_interval_s": 0.5}
    async with harness.running():
        await harness.sign_up()
        await until(lambda: complete(harness))
        admin = AIOKafkaAdminClient(**options(harness.bootstrap_servers))
        await admin.start()
        names = [harness.prefix + contract_of(one.DESCRIPTOR).topic.name for one in DIRECTORY]
        await admin.delete_topics(names)
        await admin.close()
        await asyncio.sleep(1)
        await until(lambda: complete(harness))
        assert (await harness.send()).status == 202


async def complete(harness: IngestHarness) -> bool:
    """True if the harness's account is in all four topics."""
    tenants, keys = await harness.read_events(Tenant), await harness.read_events(ApiKey)
    domains, accounts = await harness.read_events(Domain), await harness.read_events(Account)
    is_published = [{one.tenant_id for one in some} for some in (tenants, keys, domains)]
    return bool(accounts) and all(harness.tenant_id in ids for ids in is_published)


async def test_a_day_is_dropped_after_its_last_message_has_been_closed_for_the_retention_time(
    database: FreshDatabase,
) -> None:
    today = clock.now().date()
    done, busy = today - timedelta(days=40), today - timedelta(days=41)
    with database.connect() as connection:
        for day, closed in ((done, "now() - interval '31 days'"), (busy, "NULL")):
            for table in ("emails", "messages"):
                connection.execute("SELECT ingest.ensure_day_partition(%s, %s)", (table, day))
            moment = clock.now() - timedelta(days=(today - day).days)
            message_id = UUID(int=lower_bound_at(moment).int + 1)
            connection.execute(
                "INSERT INTO ingest.messages (message_id, email_id, tenant_id, recipient,"
                " recipient_type, closed_state, closed_at) VALUES (%s, %s, %s, 'a@x.net', 1,"
                f" CASE WHEN {closed} IS NULL THEN NULL ELSE 1 END, {closed})",
                (message_id, message_id, message_id),
            )

    async with opened(database.system("ingest"), connections_max=1) as engine:
        store = RetentionStore(engine, retention_days=30)
        assert await store.drop_days() == [done]
        assert await store.drop_days() == []
        await store.create_partitions()
        assert await store.expire_keys() == 0
