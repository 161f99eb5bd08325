"""Whether figures, usage and thresholds are those of the log, after any fault."""

import asyncio
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from typing import Any

from contracts.events.v1.events_pb2 import UsageThresholdReached
from kernel.database import Database
from services.events.domain.log_event import EventKind
from services.events.domain.usage import THRESHOLDS
from services.events.store.figures.recount import RecountResult, recount_day
from tests.faults.world import DRAIN_TIMEOUT_S, INCLUDED, World, wait_until

UNSETTLED = """
SELECT (SELECT count(*) FROM events.stats_deltas)
    + (SELECT count(*) FROM events.usage_months WHERE NOT checked)
    + (SELECT count(*) FROM events.outbox)
"""
# The unit of usage is the distinct message that was assigned; the load is live mail alone. Nothing
# is counted without its accept, which a broker may have lost with its disk.
ASSIGNED = f"""
SELECT tenant_id::text, count(DISTINCT subject_id) FROM events.log AS sent
WHERE kind = {int(EventKind.ASSIGNED)} AND EXISTS (SELECT FROM events.log AS accepted
    WHERE accepted.subject_id = sent.subject_id AND accepted.kind = {int(EventKind.ACCEPTED)})
GROUP BY 1
"""
USED = """
SELECT tenant_id::text, sum(sent)::bigint FROM events.usage_days GROUP BY 1 HAVING sum(sent) > 0
"""
OF_ACCOUNTS = "SELECT account_id::text, sum(sent)::bigint FROM events.usage_months GROUP BY 1"
MONTHS = (
    "SELECT to_char(month, 'YYYY-MM'), sent FROM events.usage_months WHERE account_id = '{account}'"
)
IDLE = "idle_in_transaction_session_timeout"
PAYLOADS = f"SELECT payload FROM events.unpartitioned_log WHERE kind = {int(EventKind.USAGE)}"


def problems_of_figures(world: World) -> list[str]:
    """What differs, of the messages since the start of the world."""
    try:
        wait_until(lambda: world.count(UNSETTLED) == 0, DRAIN_TIMEOUT_S, "figures are not folded")
        wait_until(lambda: not [*thresholds(world)], DRAIN_TIMEOUT_S, "")
    except AssertionError as error:
        return [text for text in (str(error), *thresholds(world)) if text]
    return [*differences(world), *usage(world)]


def differences(world: World) -> Iterator[str]:
    today = datetime.now(UTC).date()
    for day in (today - timedelta(days=1), today):
        found = asyncio.run(recount(world, day))
        for one in found.differences[:5]:
            yield f"figures: {one.row}: {one.in_roll_ups}, in the log {one.in_log}"


async def recount(world: World, day: date) -> RecountResult:
    url, patient = world.environment["EVENTS_SYSTEM_DATABASE_URL"], {IDLE: "60s"}  # a busy machine
    database = Database(url, name="faults", session=patient)
    try:
        return await recount_day(database, day)
    finally:
        await database.close()


def usage(world: World) -> Iterator[str]:
    assigned, used, months = (dict(rows(world, one)) for one in (ASSIGNED, USED, OF_ACCOUNTS))
    if used != assigned:
        yield f"usage: {used}, assigned {assigned}"
    if sum(months.values()) != sum(assigned.values()):
        yield f"usage of accounts: {months}, assigned {assigned}"


def thresholds(world: World) -> Iterator[str]:
    """Each that the load has passed is told once."""
    sent_events: Counter[tuple[str, int]] = Counter()
    for (payload,) in rows(world, PAYLOADS):
        event = UsageThresholdReached.FromString(bytes(payload))
        sent_events[event.month, event.percent] += 1
    passed = Counter(
        (month, percent)
        for month, sent in rows(world, MONTHS)
        for percent in THRESHOLDS
        if sent * 100 >= percent * INCLUDED
    )
    if sent_events != passed:
        yield f"thresholds: events {dict(sent_events)}, passed {dict(passed)}"


def rows(world: World, query: str) -> list[tuple[Any, ...]]:
    with world.database() as connection:
        return connection.execute(query.format(account=world.account_id).encode()).fetchall()
