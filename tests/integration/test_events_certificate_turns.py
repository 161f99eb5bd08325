"""The order in which certificates are ordered."""

from datetime import timedelta
from uuid import uuid4

from contracts.ingest.v1.directory_pb2 import TrackingHost
from kernel.database import Database
from services.events.store.certificates import (
    claim,
    due_hosts,
    ordered_in_an_hour,
    put_hosts,
)
from tests.support.stack import FreshDatabase, opened

MANY = 300
MINUTE = timedelta(minutes=1)


def hosts_of(tenant: str, count: int) -> list[TrackingHost]:
    return [
        TrackingHost(
            host=f"h{number}.{tenant}.net", tenant_id=tenant, domain_id=tenant, active=True
        )
        for number in range(count)
    ]


async def put(database: Database, records: list[TrackingHost]) -> None:
    async with database.transaction() as tx:
        await put_hosts(tx, records)


async def test_a_tenant_with_many_hosts_does_not_keep_others_from_being_certified(
    database: FreshDatabase,
) -> None:
    busy, late = str(uuid4()), str(uuid4())
    async with opened(database.system("events")) as engine:
        await put(engine, hosts_of(busy, MANY))
        await put(engine, hosts_of(late, 1))
        first = [one.host for one in await due_hosts(engine, 4, tenant_max=3)]
        assert [late in host for host in first] == [False, True, False, False]
        async with engine.transaction() as tx:
            for host in first[:1] + first[2:]:
                await claim(tx, host, retry_in=None)
        rest = [one.host for one in await due_hosts(engine, 4, tenant_max=3)]
        assert rest == [first[1]], "the other has had its share of the hour"
        assert len(await due_hosts(engine, 4, tenant_max=4)) == 4


async def test_a_host_that_is_active_again_begins_anew(database: FreshDatabase) -> None:
    tenant = str(uuid4())
    [record] = hosts_of(tenant, 1)
    async with opened(database.system("events")) as engine:
        await put(engine, [record])
        with database.connect() as connection:
            connection.execute(
                "UPDATE events.certificates SET failures = 20, due_at = NULL WHERE host = %s",
                (record.host,),
            )

        async def failures() -> list[int]:
            due = await due_hosts(engine, 1_000, tenant_max=1_000)
            return [one.failures for one in due if one.host == record.host]

        await put(engine, [record])
        assert await failures() == [], "its record has changed otherwise"
        record.active = False
        await put(engine, [record])
        assert await failures() == []
        record.active = True
        await put(engine, [record])
        assert await failures() == [0]


async def test_a_host_of_another_domain_is_ordered_again(database: FreshDatabase) -> None:
    """That of a deleted domain stays active, so that its old links work. The orders that its tenant
    had for it count as those of this tenant."""
    before, after = str(uuid4()), str(uuid4())
    given_up, failing = hosts_of(before, 2)
    async with opened(database.system("events")) as engine:
        await put(engine, [given_up, failing])
        async with engine.transaction() as tx:
            for one in (given_up, failing):
                await claim(tx, one.host, retry_in=-MINUTE)
        with database.connect() as connection:
            connection.execute(
                "UPDATE events.certificates SET failures = 20,"
                " due_at = CASE WHEN host = %s THEN due_at END WHERE tenant_id = %s",
                (failing.host, before),
            )
        for record in (given_up, failing):
            record.tenant_id = record.domain_id = after
        await put(engine, [given_up, failing])
        await put(engine, hosts_of(before, 3)[2:])
        due = {one.host: one.failures for one in await due_hosts(engine, 1_000, tenant_max=2)}
        assert (due.get(given_up.host), due.get(failing.host)) == (0, 20)
        assert f"h2.{before}.net" not in due, "it has ordered twice"


async def test_a_host_that_is_ordered_again_counts_again(database: FreshDatabase) -> None:
    tenant = str(uuid4())
    async with opened(database.system("events")) as engine:
        await put(engine, hosts_of(tenant, 2))
        before = await ordered_in_an_hour(engine)
        for _ in range(3):
            async with engine.transaction() as tx:
                await claim(tx, f"h0.{tenant}.net", retry_in=-MINUTE)
        assert await ordered_in_an_hour(engine) == before + 3
        hosts = [one.host for one in await due_hosts(engine, 1_000, tenant_max=3)]
        assert not [host for host in hosts if tenant in host]
        with database.connect() as connection:
            connection.execute(
                "UPDATE events.certificate_orders SET ordered_at = ordered_at - interval '1 hour'"
                " WHERE tenant_id = %s",
                (tenant,),
            )
        assert await ordered_in_an_hour(engine) == before
        async with engine.transaction() as tx:
            await claim(tx, f"h1.{tenant}.net", retry_in=None)
        with database.connect() as connection:
            [[kept]] = connection.execute(
                "SELECT count(*) FROM events.certificate_orders WHERE tenant_id = %s", (tenant,)
            )
        assert kept == 1, "older ones are deleted"
