"""Replicas follow keys, tenants and domains in the database, with or without the broker."""

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest

from cli.environment import Ports
from contracts.ingest.v1.directory_pb2 import Domain, Tenant
from kernel import outbox
from kernel.database import PLANS
from kernel.health import DependencyHealth
from kernel.table import ReplicatedTable
from services.ingest.store.directory import CHANGES, HOLDERS, LOCK, DirectoryStore, DomainExists
from services.ingest.store.directory_cache import DirectoryCache
from tests.support.ingest import IngestHarness, email
from tests.support.polling import until
from tests.support.stack import FreshDatabase, opened

PATIENT = {"lock_timeout": "60s"}
RACED = "raced.example.net"


@pytest.fixture
def harness(
    bootstrap_servers: str,
    topic_prefix: str,
    database: FreshDatabase,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> IngestHarness:
    monkeypatch.setattr(outbox, "DRAIN_TIMEOUT_S", 0.1)  # in vain without a broker
    nowhere = f"127.0.0.1:{Ports.find_free().sandbox}"
    return IngestHarness(
        bootstrap_servers,
        topic_prefix,
        database,
        tmp_path,
        extra={"kafka_bootstrap_servers": nowhere},
    )


async def test_without_kafka_a_deleted_key_is_refused_by_all_replicas(
    harness: IngestHarness,
) -> None:
    other = Ports.find_free()
    async with harness.running(other):
        await harness.sign_up()
        made = await harness.request("POST", "/v1/api-keys", {"name": "shop"})
        key = made.json["token"]
        for port in (harness.ports.ingest_http, other.ingest_http):
            sent = await harness.request("POST", "/v1/emails", email(), key=key, port=port)
            assert sent.status == 202
        await harness.request("DELETE", f"/v1/api-keys/{made.json['id']}", {})
        here = await harness.request("POST", "/v1/emails", email(), key=key)
        assert here.status == 403

        async def refused() -> bool:
            port = other.ingest_http
            there = await harness.request("POST", "/v1/emails", email(), key=key, port=port)
            return there.status == 403

        await until(refused)


async def test_without_kafka_nothing_is_sent_from_a_deleted_domain(harness: IngestHarness) -> None:
    async with harness.running():
        await harness.sign_up()
        assert (await harness.send()).status == 202
        async with harness.directory() as directory:
            domains = await directory.store.list_all(Domain)
            [domain] = [one for one in domains if one.tenant_id == harness.tenant_id]
            domain.deleted = True
            await directory.store.save(domain)

        async def refused() -> bool:
            response = await harness.send()
            return response.status == 403 and response.json["name"] == "invalid_from_address"

        await until(refused)


async def test_a_domain_added_twice_to_a_tenant_at_once_is_added_once(
    harness: IngestHarness, database: FreshDatabase
) -> None:
    """Both transactions are ready to save; neither sees the other."""

    async with harness.directory() as directory:
        account = await directory.add_account("a")
        tenant = await directory.add_tenant(account.account_id, "a")
    async with opened(database.system("ingest"), session={**PLANS, **PATIENT}) as engine:
        store = DirectoryStore(engine)
        with database.connect() as held, held.transaction():
            held.execute(LOCK.encode())
            adding = [asyncio.create_task(store.save(raced(tenant))) for _ in range(2)]
            await until(lambda: waiting(database, 2))
        outcomes = await asyncio.gather(*adding, return_exceptions=True)
        [refused] = [one for one in outcomes if one is not None]
        assert isinstance(refused, DomainExists)
        assert len(await store.find_by_id_or_name(Domain, RACED)) == 1


def raced(tenant: Tenant) -> Domain:
    return Domain(
        domain_id=str(uuid4()),
        tenant_id=tenant.tenant_id,
        account_id=tenant.account_id,
        name=RACED,
    )


async def test_a_change_after_a_restore_is_newer_than_those_that_were_lost(
    harness: IngestHarness, database: FreshDatabase
) -> None:
    """Other services know what was published since the backup, and ignore what is older."""
    await harness.sign_up()
    async with opened(database.system("ingest"), session=PLANS) as engine:
        store = DirectoryStore(engine)
        [tenant] = await store.find_by_id_or_name(Tenant, harness.tenant_id)
        known: ReplicatedTable[Tenant] = ReplicatedTable(Tenant)
        with database.connect() as owner:
            [backup] = owner.execute("SELECT last_value FROM ingest.directory_version")
            for name in ("lost", "lost too"):
                tenant.name = name
                await store.save(tenant)
                known.put(Tenant.FromString(tenant.SerializeToString()))
            owner.execute("SELECT setval('ingest.directory_version', %s)", backup)
        tenant.name = "after the restore"
        await store.save(tenant)
        known.put(tenant)
    assert [one.name for one in known.values()] == ["after the restore"]


async def test_no_change_is_missed_if_a_later_one_is_committed_first(
    harness: IngestHarness, database: FreshDatabase
) -> None:
    """The first transaction has its version and waits; the second could overtake it."""

    await harness.sign_up()
    async with opened(database.system("ingest"), session={**PLANS, **PATIENT}) as engine:
        store, elsewhere = DirectoryStore(engine), DirectoryStore(engine)
        directory = DirectoryCache(store, DependencyHealth(), every_s=0.05, age_max_s=30)
        following = asyncio.create_task(directory.run())
        first = await directory.tenant(harness.tenant_id)
        assert first is not None
        changed = Tenant.FromString(first.SerializeToString())
        changed.deleted = True
        with database.connect() as held, held.transaction():
            held.execute("SELECT FROM ingest.tenants WHERE id = %s FOR UPDATE", (first.tenant_id,))
            early = asyncio.create_task(elsewhere.save(changed))
            await until(lambda: waiting(database, 1))
            second = Tenant(tenant_id=str(uuid4()), account_id=first.account_id)
            late = asyncio.create_task(elsewhere.save(second))

            async def late_transaction_waits() -> bool:
                return late.done() or await waiting(database, 2)

            await until(late_transaction_waits)
            await directory.tenant("unknown")  # reads all committed changes
        await asyncio.gather(early, late)
        assert await directory.tenant(second.tenant_id) is not None
        assert await directory.tenant(first.tenant_id) is None
        following.cancel()
        await asyncio.wait([following])


async def waiting(database: FreshDatabase, count: int) -> bool:
    """True if this many transactions wait for a lock."""
    with database.connect() as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND datname = current_database()"
        ).fetchone()
    return row == (count,)


async def test_changes_are_read_by_index(database: FreshDatabase) -> None:
    async with opened(database.system("ingest"), session=PLANS) as engine:
        async with engine.transaction() as tx:
            rows = await tx.rows(f"EXPLAIN {CHANGES}", {"after": 5, "count": 500})
        plan = "\n".join(line for (line,) in rows)
        for table in ("tenants", "api_keys", "domains"):
            assert f"Index Scan using {table}_version" in plan
        assert "Seq Scan" not in plan


async def test_domains_are_found_by_index_on_their_name(database: FreshDatabase) -> None:
    async with opened(database.system("ingest"), session=PLANS) as engine:
        someone = dict.fromkeys(("id", "tenant_id", "account_id"), str(uuid4()))
        async with engine.transaction() as tx:
            rows = await tx.rows(f"EXPLAIN {HOLDERS}", {**someone, "name": RACED})
        plan = "\n".join(line for (line,) in rows)
        assert "domains_name" in plan
        assert "Seq Scan" not in plan
