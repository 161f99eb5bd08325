"""Counts the messages of a day anew from the log, and compares that with the roll-ups.

All reads are of one snapshot, in which the log, the deltas and the roll-ups agree: a batch writes
log and deltas in one transaction, and a fold moves deltas in one.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import date
from typing import NamedTuple

from kernel.database import Database, Transaction
from kernel.days import EPOCH, id_bounds
from kernel.redaction import ERASED
from services.events.domain.figures.daily_roll_ups import (
    Admit,
    DailyRollUpRow,
    Sums,
    add_message,
    new_sums,
)
from services.events.domain.figures.definitions import (
    COUNTER_NAMES,
    CUBES,
    OTHER,
    CubeId,
    TimeAxis,
    TimedSpan,
)
from services.events.domain.figures.facts import MessageFacts, merge_facts
from services.events.domain.log_event import LogEvent
from services.events.domain.state import STEP
from services.events.store.figures.folding import CELLS
from services.events.store.payloads import log_event_from_row

PAGE = 1_000
SNAPSHOT = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"
# The domain of an erased recipient is left in the state alone.
MESSAGES = f"""
SELECT subject_id::text, tenant_id::text, CASE WHEN recipient = '{ERASED}' THEN domain ELSE '' END
FROM events.state
WHERE subject_id > %s AND subject_id < %s ORDER BY subject_id LIMIT %s
"""  # noqa: S608 - our own text
EVENTS = """
SELECT subject_id::text, event_id::text, kind, payload FROM events.log
WHERE subject_id = ANY(%(ids)s::uuid[])
UNION ALL SELECT subject_id::text, event_id::text, kind, payload FROM events.unpartitioned_log
WHERE subject_id = ANY(%(ids)s::uuid[])
"""
VALUES = "SELECT tenant_id::text, dimension, value FROM events.stats_values WHERE day = %s"
COUNTERS = ", ".join(COUNTER_NAMES)
SUMS = ", ".join(f"coalesce(sum({name}), 0)::bigint" for name in COUNTER_NAMES)
WAITING = f"""
SELECT tenant_id::text, cube, dimensions, {SUMS} FROM ({CELLS}) AS cells
WHERE axis = {int(TimeAxis.SENT)} AND at / 24 = %(day)s GROUP BY 1, 2, 3
"""  # noqa: S608 - our own names and numbers
FOLDED = f"""
SELECT tenant_id::text, cube, dimensions, {COUNTERS} FROM events.stats_day
WHERE axis = {int(TimeAxis.SENT)} AND day = %(day)s
"""  # noqa: S608 - our own names and numbers
FOLDED_TIMES = f"""
SELECT tenant_id::text, cube, dimensions, timing, bucket, messages FROM events.stats_day_times
WHERE axis = {int(TimeAxis.SENT)} AND day = %(day)s
"""  # noqa: S608 - our own names and numbers
WAITING_TIMES = " UNION ALL ".join(
    f"SELECT tenant_id::text, cube, dimensions, {int(timing)}, abs(signed) - 1, sign(signed)::int"  # noqa: S608
    f" FROM ({CELLS}) AS cells, unnest(cells.{timing.name.lower()}) AS signed"
    f" WHERE axis = {int(TimeAxis.SENT)} AND at / 24 = %(day)s"
    for timing in TimedSpan
)
TIMED = {cube.id for cube in CUBES if cube.timed}


class CountDifference(NamedTuple):
    """A row whose number in the roll-ups is not that of the log."""

    row: DailyRollUpRow
    in_log: int
    in_roll_ups: int


class RecountResult(NamedTuple):
    messages: int
    differences: list[CountDifference]


async def recount_day(database: Database, day: date) -> RecountResult:
    """Compare the figures of the messages that were accepted on a day."""
    number = (day - EPOCH).days
    async with database.transaction() as tx:
        await tx.execute(SNAPSHOT)
        admit = await _load_admission(tx, number)
        counted, messages = await _count_log(tx, day, admit)
        rolled = await _read_roll_ups(tx, number)
    differences = [
        CountDifference(row, counted.get(row, 0), rolled.get(row, 0))
        for row in sorted(counted.keys() | rolled.keys(), key=str)
        if counted.get(row, 0) != rolled.get(row, 0)
    ]
    return RecountResult(messages, differences)


async def _load_admission(tx: Transaction, day: int) -> Admit:
    known = {tuple(row) for row in await tx.rows(VALUES, (day,))}

    def admit(tenant_id: str, cube: CubeId, value: str) -> str:
        return value if not value or (tenant_id, int(cube), value) in known else OTHER

    return admit


async def _count_log(tx: Transaction, day: date, admit: Admit) -> tuple[Sums, int]:
    after, end = id_bounds(day)
    sums, messages = new_sums(), 0
    while page := await tx.rows(MESSAGES, (after, end, PAGE)):
        after = page[-1][0]
        messages += len(page)
        events = await _load_events(tx, [message_id for message_id, *_ in page])
        for message_id, tenant_id, domain in page:
            ordered = sorted(events[message_id], key=STEP)
            facts: MessageFacts | None = merge_facts(None, ordered)
            if facts is not None:
                facts.recipient_domain = domain or facts.recipient_domain
                add_message(sums, tenant_id, message_id, facts=facts, admit=admit)
    return sums, messages


async def _load_events(tx: Transaction, ids: Sequence[str]) -> dict[str, list[LogEvent]]:
    found: dict[str, list[LogEvent]] = defaultdict(list)
    for message_id, event_id, kind, payload in await tx.rows(EVENTS, {"ids": list(ids)}):
        found[message_id].append(log_event_from_row(kind, event_id, payload=payload))
    return found


async def _read_roll_ups(tx: Transaction, day: int) -> Sums:
    """With the deltas that are not folded yet."""
    sums = new_sums()
    ids = [row[0] for row in await tx.rows("SELECT id FROM events.stats_deltas")]
    given = {"ids": ids, "day": day}
    for statement in (FOLDED, WAITING):
        for tenant_id, cube, dimensions, *numbers in await tx.rows(statement, given):
            for name, number in zip(COUNTER_NAMES, numbers, strict=True):
                sums[DailyRollUpRow(tenant_id, CubeId(cube), tuple(dimensions), name)] += number
    for statement in (FOLDED_TIMES, WAITING_TIMES):
        for tenant_id, cube, dimensions, timing, bucket, number in await tx.rows(statement, given):
            if CubeId(cube) in TIMED:
                measure = timing, bucket
                sums[DailyRollUpRow(tenant_id, CubeId(cube), tuple(dimensions), measure)] += number
    return sums
