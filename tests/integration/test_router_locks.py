"""Who writes lanes while others do: everybody takes them in the order of their keys."""

import asyncio
from uuid import uuid4

from kernel.database import Database
from kernel.ids import uuid7_text
from services.router.domain.dispatch import Relaned
from services.router.domain.fairness import OpenLane
from services.router.domain.message import Claimed, Lane
from services.router.store import claims, closings, resolving
from services.router.store.lanes import Work, give_work
from tests.support.pair import FreshDatabase, opened

BLOCKED = "SELECT 1 FROM pg_locks WHERE NOT granted AND pid <> %s"
ROW = """
INSERT INTO router.messages (message_id, tenant_id, email_id, cell, lane, state, due_at, expires_at,
    address_hash, envelope)
VALUES (%s, %s, %s, 'default', %s, 'waiting', now() + interval '1 hour', now() + interval '3 days',
    '', '')
"""
ASSIGNED = """
UPDATE router.messages SET state = 'assigned', ask_at = now() - interval '1 second',
    assignment = '', assigned_at = now()
WHERE message_id = ANY(%s::uuid[])
"""
ANSWERED = "SELECT 1 FROM router.messages WHERE message_id = %s FOR UPDATE"


def test_a_handler_and_the_resolving_loop_meet_at_two_lanes(database: FreshDatabase) -> None:
    tenants = sorted(str(uuid4()) for _ in range(2))
    first, second = (Lane(tenant, "resolving") for tenant in tenants)

    async def settle(owner: Database) -> None:
        async with owner.transaction() as tx:
            lanes = [OpenLane(lane.key, 1, lane) for lane in (second, first)]
            await resolving.settle(tx, map(resolving.Settled, lanes))

    async def story() -> None:
        async with opened(database.url) as owner, opened(database.url) as handler:
            async with handler.transaction() as tx:
                await give_work(tx, [Work(first, 1.0), Work(second, 1.0)])
            async with handler.transaction() as tx:
                await give_work(tx, [Work(first, 1.0)])
                settling = asyncio.create_task(settle(owner))
                while not await tx.rows(BLOCKED, (tx.connection.info.backend_pid,)):
                    await asyncio.sleep(0)
                await give_work(tx, [Work(second, 1.0)])
            await settling

    asyncio.run(story())


def test_who_asks_again_leaves_alone_what_is_being_answered(database: FreshDatabase) -> None:
    """Both would take the other's rows: the one by the time of asking, the other by their ids."""
    ids = [uuid7_text() for _ in range(3)]

    async def asked(owner: Database) -> list[str]:
        async with owner.transaction() as tx:
            await tx.execute("SET LOCAL lock_timeout = '2s'")
            found = await closings.ask_again(tx, after_s=60, most_s=60, rows=10)
        return [one.message_id for one in found]

    async def story() -> None:
        async with opened(database.url) as owner, opened(database.url) as handler:
            async with owner.transaction() as tx:
                for one in ids:
                    await tx.execute(ROW, (one, str(uuid4()), one, "lane"))
                await tx.execute(ASSIGNED, (ids,))
            async with handler.transaction() as tx:
                await tx.rows(ANSWERED, (ids[1],))
                assert sorted(await asked(owner)) == [ids[0], ids[2]]
            assert await asked(owner) == [ids[1]]

    asyncio.run(story())


def test_mail_that_was_rescheduled_a_moment_ago_keeps_its_new_time(database: FreshDatabase) -> None:
    tenant, message_id = str(uuid4()), uuid7_text()
    lane = Lane(tenant, "resolving")
    read = Claimed(message_id, lane.key, 1.0, 2.0, 0, 0, "", False, False, b"")

    async def story() -> None:
        async with opened(database.url) as owner:
            async with owner.transaction() as tx:
                await tx.execute(ROW, (message_id, tenant, message_id, lane.key))
                moved = Relaned(read, Lane(tenant, "site"), 1.0, "")
                await claims.relane(tx, [moved], written=[])
                rows = await tx.rows(
                    "SELECT lane, due_at > now() FROM router.messages WHERE message_id = %s",
                    (message_id,),
                )
            assert rows == [(lane.key, True)]

    asyncio.run(story())
