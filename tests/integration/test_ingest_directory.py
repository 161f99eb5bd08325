"""Keys, tenants and domains follow the database, with or without the broker."""

import asyncio
from pathlib import Path
from uuid import uuid4

import pytest

from cli.environment import Ports
from contracts.ingest.v1.directory_pb2 import Domain, Tenant
from kernel.backoff import Health
from kernel.database import PLANS
from services.ingest.store.directory import CHANGES, HOLDERS, LOCK, DirectoryStore, Taken
from services.ingest.store.known import Directory
from tests.support.ingest import House, email, play, until
from tests.support.pair import FreshDatabase, opened

PATIENT = {"lock_timeout": "60s"}
RACED = "raced.example.net"


@pytest.fixture
def house(
    bootstrap_servers: str, topic_prefix: str, database: FreshDatabase, tmp_path: Path
) -> House:
    nowhere = f"127.0.0.1:{Ports.free().sandbox}"
    return House(
        bootstrap_servers,
        topic_prefix,
        database,
        tmp_path,
        extra={"kafka_bootstrap_servers": nowhere},
    )


def test_without_kafka_a_deleted_key_opens_no_replica(house: House) -> None:
    async def story() -> None:
        other = Ports.free()
        async with house.running(other):
            await house.enrol()
            made = await house.ask("POST", "/v1/api-keys", {"name": "shop"})
            key = made.json["token"]
            for port in (house.ports.ingest_http, other.ingest_http):
                sent = await house.ask("POST", "/v1/emails", email(), key=key, port=port)
                assert sent.status == 202
            await house.ask("DELETE", f"/v1/api-keys/{made.json['id']}", {})
            here = await house.ask("POST", "/v1/emails", email(), key=key)
            assert here.status == 403

            async def refused() -> bool:
                port = other.ingest_http
                there = await house.ask("POST", "/v1/emails", email(), key=key, port=port)
                return there.status == 403

            await until(refused)

    play(story())


def test_without_kafka_nothing_is_sent_from_a_deleted_domain(house: House) -> None:
    async def story() -> None:
        async with house.running():
            await house.enrol()
            assert (await house.send()).status == 202
            async with house.customers() as customers:
                domains = await customers.store.every(Domain)
                [domain] = [one for one in domains if one.tenant_id == house.tenant_id]
                domain.deleted = True
                await customers.store.save(domain)

            async def refused() -> bool:
                answer = await house.send()
                return answer.status == 403 and answer.json["name"] == "invalid_from_address"

            await until(refused)

    play(story())


def test_of_two_accounts_that_add_one_domain_at_once_the_second_is_refused(
    house: House, database: FreshDatabase
) -> None:
    """Both are ready to save; neither sees the other."""

    async def story() -> None:
        async with house.customers() as customers:
            accounts = [await customers.add_account(name) for name in "ab"]
            tenants = [await customers.add_tenant(one.account_id, one.name) for one in accounts]
        async with opened(database.engine("ingest"), session={**PLANS, **PATIENT}) as engine:
            store = DirectoryStore(engine)
            with database.connect() as held, held.transaction():
                held.execute(LOCK.encode())
                adding = [asyncio.create_task(store.save(raced(one))) for one in tenants]
                await until(lambda: waiting(database, 2))
            said = await asyncio.gather(*adding, return_exceptions=True)
            [refused] = [one for one in said if one is not None]
            assert isinstance(refused, Taken)
            assert refused.elsewhere
            assert len(await store.named(Domain, RACED)) == 1

    play(story())


def raced(tenant: Tenant) -> Domain:
    return Domain(
        domain_id=str(uuid4()),
        tenant_id=tenant.tenant_id,
        account_id=tenant.account_id,
        name=RACED,
    )


def test_a_change_is_not_passed_over_when_a_later_one_is_committed_first(
    house: House, database: FreshDatabase
) -> None:
    """The first transaction has its version, and waits; the second would overtake it."""

    async def story() -> None:
        await house.enrol()
        async with opened(database.engine("ingest"), session={**PLANS, **PATIENT}) as engine:
            store, elsewhere = DirectoryStore(engine), DirectoryStore(engine)
            directory = Directory(store, Health(), every_s=0.05, age_max_s=30)
            following = asyncio.create_task(directory.follow())
            first = await directory.tenant(house.tenant_id)
            assert first is not None
            changed = Tenant.FromString(first.SerializeToString())
            changed.deleted = True
            with database.connect() as held, held.transaction():
                held.execute(
                    "SELECT FROM ingest.tenants WHERE id = %s FOR UPDATE", (first.tenant_id,)
                )
                early = asyncio.create_task(elsewhere.save(changed))
                await until(lambda: waiting(database, 1))
                second = Tenant(tenant_id=str(uuid4()), account_id=first.account_id)
                late = asyncio.create_task(elsewhere.save(second))

                async def late_has_come_as_far_as_it_can() -> bool:
                    return late.done() or await waiting(database, 2)

                await until(late_has_come_as_far_as_it_can)
                await directory.tenant("unknown")  # reads what there is
            await asyncio.gather(early, late)
            assert await directory.tenant(second.tenant_id) is not None
            assert await directory.tenant(first.tenant_id) is None
            following.cancel()
            await asyncio.wait([following])

    play(story())


async def waiting(database: FreshDatabase, count: int) -> bool:
    """Whether so many transactions wait for a lock."""
    with database.connect() as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            " AND datname = current_database()"
        ).fetchone()
    return row == (count,)


def test_a_read_of_what_has_changed_touches_a_page_by_its_index(database: FreshDatabase) -> None:
    async def story() -> None:
        async with opened(database.engine("ingest"), session=PLANS) as engine:
            async with engine.transaction() as tx:
                rows = await tx.rows(f"EXPLAIN {CHANGES}", {"after": 5, "count": 500})
            plan = "\n".join(line for (line,) in rows)
            for table in ("tenants", "api_keys", "domains"):
                assert f"Index Scan using {table}_version" in plan
            assert "Seq Scan" not in plan

    asyncio.run(story())


def test_who_holds_a_domain_is_found_by_its_name(database: FreshDatabase) -> None:
    async def story() -> None:
        async with opened(database.engine("ingest"), session=PLANS) as engine:
            someone = dict.fromkeys(("id", "tenant_id", "account_id"), str(uuid4()))
            async with engine.transaction() as tx:
                rows = await tx.rows(f"EXPLAIN {HOLDERS}", {**someone, "name": RACED})
            plan = "\n".join(line for (line,) in rows)
            assert "domains_name" in plan
            assert "Seq Scan" not in plan

    asyncio.run(story())
