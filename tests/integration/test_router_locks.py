"""Concurrent writers of queues and messages: no deadlocks, because all lock in one order."""

import asyncio
from uuid import uuid4

from kernel.database import Database
from kernel.ids import uuid7_text
from services.router.domain.deficit_round_robin import ActiveQueue
from services.router.domain.dispatch import Requeue
from services.router.domain.message import DueMessage, ScheduledQueue
from services.router.store import assignments, closings, unresolved
from services.router.store.queues import QueueDueTime, mark_queues_due
from tests.support.stack import FreshDatabase, opened

WAITING = "SELECT 1 FROM pg_locks WHERE NOT granted AND pid <> %s"
ROW = """
INSERT INTO router.messages (message_id, tenant_id, email_id, cell, queue_id, state, due_at,
    expires_at, address_hash, context)
VALUES (%s, %s, %s, 'default', %s, 'queued', now() + interval '1 hour', now() + interval '3 days',
    '', '')
"""
ASSIGNED = """
UPDATE router.messages SET state = 'assigned', republish_at = now() - interval '1 second',
    assignment = '', assigned_at = now()
WHERE message_id = ANY(%s::uuid[])
"""
LOCK_ROW = "SELECT 1 FROM router.messages WHERE message_id = %s FOR UPDATE"


async def test_a_handler_and_route_resolution_write_the_same_queues_without_a_deadlock(
    database: FreshDatabase,
) -> None:
    tenants = sorted(str(uuid4()) for _ in range(2))
    first, second = (ScheduledQueue(tenant, "unresolved") for tenant in tenants)

    async def record_lookups(scheduler: Database) -> None:
        async with scheduler.transaction() as tx:
            queues = [ActiveQueue(queue.queue_id, 1, queue) for queue in (second, first)]
            await unresolved.record_lookups(tx, map(unresolved.NextLookup, queues))

    async with opened(database.url) as scheduler, opened(database.url) as handler:
        async with handler.transaction() as tx:
            await mark_queues_due(tx, [QueueDueTime(first, 1.0), QueueDueTime(second, 1.0)])
        async with handler.transaction() as tx:
            await mark_queues_due(tx, [QueueDueTime(first, 1.0)])
            recording = asyncio.create_task(record_lookups(scheduler))
            while not await tx.rows(WAITING, (tx.connection.info.backend_pid,)):
                await asyncio.sleep(0)
            await mark_queues_due(tx, [QueueDueTime(second, 1.0)])
        await recording


async def test_the_republisher_skips_rows_that_are_being_updated(database: FreshDatabase) -> None:
    """Otherwise they could deadlock: one locks rows by republish_at, the other by id."""
    ids = [uuid7_text() for _ in range(3)]

    async def republished(scheduler: Database) -> list[str]:
        async with scheduler.transaction() as tx:
            await tx.execute("SET LOCAL lock_timeout = '2s'")
            found = await closings.republish_due(
                tx, "default", after_s=60, backoff_max_s=60, rows=10
            )
        return [one.message_id for one in found]

    async with opened(database.url) as scheduler, opened(database.url) as handler:
        async with scheduler.transaction() as tx:
            for one in ids:
                await tx.execute(ROW, (one, str(uuid4()), one, "queue_id"))
            await tx.execute(ASSIGNED, (ids,))
        async with handler.transaction() as tx:
            await tx.rows(LOCK_ROW, (ids[1],))
            assert sorted(await republished(scheduler)) == [ids[0], ids[2]]
        assert await republished(scheduler) == [ids[1]]


async def test_a_message_rescheduled_after_it_was_read_keeps_its_new_time(
    database: FreshDatabase,
) -> None:
    tenant, message_id = str(uuid4()), uuid7_text()
    queue = ScheduledQueue(tenant, "unresolved")
    read = DueMessage(message_id, queue.queue_id, 1.0, 2.0, 0, 0, "", False, None, b"")

    async with opened(database.url) as scheduler:
        async with scheduler.transaction() as tx:
            await tx.execute(ROW, (message_id, tenant, message_id, queue.queue_id))
            requeue = Requeue(read, ScheduledQueue(tenant, "site"), 1.0, "")
            await assignments.requeue(tx, "default", [requeue], written=[])
            rows = await tx.rows(
                "SELECT queue_id, due_at > now() FROM router.messages WHERE message_id = %s",
                (message_id,),
            )
        assert rows == [(queue.queue_id, True)]
