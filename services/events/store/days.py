"""Day partitions: those that are missing are made, those that nobody needs any more are dropped."""

from collections.abc import Iterable
from datetime import date, timedelta

from kernel.database import Transaction

BY_MESSAGE = ("log", "state")
BY_EMAIL = ("emails", "tags")


async def existing(tx: Transaction) -> set[date]:
    """The days that every table has."""
    rows = await tx.rows(
        "SELECT day FROM unnest(%s::text[]) AS parent, events.day_partitions(parent) AS day"
        " GROUP BY day HAVING count(*) = %s",
        (list(BY_MESSAGE + BY_EMAIL), len(BY_MESSAGE + BY_EMAIL)),
    )
    return {day for (day,) in rows}


async def make(tx: Transaction, days: Iterable[date]) -> None:
    await tx.rows(
        "SELECT events.ensure_day_partition(parent, day)"
        " FROM unnest(%s::date[]) AS day, unnest(%s::text[]) AS parent ORDER BY day, parent",
        (sorted(set(days)), list(BY_MESSAGE + BY_EMAIL)),
    )


async def droppable(tx: Transaction, *, kept_days: int, oldest_first: Iterable[date]) -> list[date]:
    """The days, one after the other, whose messages are all closed and have been for so long."""
    found = []
    for day in oldest_first:
        [(done,)] = await tx.rows(
            "SELECT NOT EXISTS (SELECT FROM events.state"
            " WHERE subject_id >= events.day_bound(%(day)s)"
            " AND subject_id < events.day_bound(%(next)s)"
            " AND (closed = 0 OR closed_at > now() - make_interval(days => %(kept)s)))",
            {"day": day, "next": day + timedelta(days=1), "kept": kept_days},
        )
        if not done:
            break
        found.append(day)
    return found


async def drop(tx: Transaction, day: date) -> None:
    """The messages of a day; and the emails of the day before, whose messages may be of this."""
    for parent in BY_MESSAGE:
        await tx.rows("SELECT events.drop_day_partition(%s, %s)", (parent, day))
    for parent in BY_EMAIL:
        await tx.rows("SELECT events.drop_day_partition(%s, %s)", (parent, day - timedelta(days=1)))


async def forget(tx: Transaction, *, kept_days: int) -> int:
    """Tasks, other facts and removed endpoints by their age; how many rows went."""
    old = (kept_days,)
    gone = 0
    for statement in (
        "DELETE FROM events.facts WHERE event_id IN (SELECT event_id FROM events.facts"
        " WHERE recorded_at < now() - make_interval(days => %s) LIMIT 5000)",
        "DELETE FROM events.webhook_tasks WHERE (endpoint_id, position) IN"
        " (SELECT endpoint_id, position FROM events.webhook_tasks"
        " WHERE created_at < now() - make_interval(days => %s) LIMIT 5000)",
        "DELETE FROM events.webhooks w WHERE deleted_at < now() - make_interval(days => %s)"
        " AND NOT EXISTS (SELECT FROM events.webhook_tasks WHERE endpoint_id = w.id)",
    ):
        gone += await tx.execute(statement, old)
    return gone
