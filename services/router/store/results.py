"""Results of attempts, from the handlers of all replicas to the scheduler."""

from collections.abc import Iterable, Sequence

from contracts.ingest.v1.events_pb2 import MessageContext
from contracts.router.v1.policies_pb2 import PolicyCommand
from contracts.router.v1.results_pb2 import Results
from kernel.database import Row, Transaction
from services.router.domain.message import CELL
from services.router.domain.results import InFlight, SentFrom

# One statement sees one snapshot: an assignment is counted as in flight or has a result, never
# both.
TAKE_OVER = """
WITH drained AS (DELETE FROM router.results WHERE cell = %(cell)s RETURNING entries)
SELECT queue_id, egress_id, count(*), NULL::bytea FROM router.messages
WHERE cell = %(cell)s AND state = 'assigned' GROUP BY 1, 2
UNION ALL SELECT '', '', 0, entries FROM drained
"""

# An entry that begins with a command (field 2 of Results) has no results of attempts, which may be
# many.
READ_COMMANDS = r"""
SELECT entries FROM router.results
WHERE cell = %s AND substring(entries FROM 1 FOR 1) = '\x12'::bytea ORDER BY id LIMIT 1000
"""


async def append(tx: Transaction, results: Results) -> None:
    if results.results or results.commands:
        await tx.execute(
            "INSERT INTO router.results (cell, entries) VALUES (%s, %s)",
            (CELL, results.SerializeToString()),
        )


async def take_over(tx: Transaction) -> tuple[list[InFlight], Results]:
    """Read the assignments in flight, and drain the results, for a new scheduler."""
    rows = await tx.rows(TAKE_OVER, {"cell": CELL})
    in_flight = [InFlight(*row[:3]) for row in rows if row[3] is None]
    return in_flight, parse(row[3] for row in rows if row[3] is not None)


async def read_commands(tx: Transaction) -> list[PolicyCommand]:
    """The commands that the scheduler has not yet obeyed."""
    rows = await tx.rows(READ_COMMANDS, (CELL,))
    return list(parse(row[0] for row in rows).commands)


async def read_in_flight(tx: Transaction) -> list[InFlight]:
    rows = await tx.rows(
        "SELECT queue_id, egress_id, count(*) FROM router.messages"
        " WHERE cell = %s AND state = 'assigned' GROUP BY 1, 2",
        (CELL,),
    )
    return [InFlight(*row) for row in rows]


def parse(entries: Iterable[bytes]) -> Results:
    """Entries of messages that repeat concatenate."""
    return Results.FromString(b"".join(entries))


async def load_sent_from(tx: Transaction, ids: Sequence[str]) -> dict[str, SentFrom]:
    """Where messages left; without those whose day was dropped."""
    rows = await tx.rows(
        "SELECT message_id::text, queue_id, egress_id, context,"
        " extract(epoch FROM assigned_at)::float8 FROM router.messages"
        " WHERE message_id = ANY(%s::uuid[]) AND egress_id <> ''",
        (list(ids),),
    )
    return {row[0]: sent_from(row) for row in rows}


def sent_from(row: Row) -> SentFrom:
    message_id, queue_id, egress_id, raw, assigned_s = row
    context = MessageContext.FromString(raw)
    return SentFrom(
        message_id,
        queue_id,
        egress_id,
        context.domain_id,
        assigned_s or 0.0,
        context.campaign_id,
    )
