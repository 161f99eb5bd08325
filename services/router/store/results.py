"""Results of attempts, from the handlers of all replicas to the scheduler."""

from collections.abc import Iterable, Sequence

from contracts.ingest.v1.events_pb2 import MessageContext
from contracts.router.v1.policies_pb2 import PolicyCommand
from contracts.router.v1.results_pb2 import Result, Results
from kernel.database import Row, Transaction
from services.router.domain.message import CELL, ScheduledQueue
from services.router.domain.results import InFlightCount, LastAssignment

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
WHERE substring(entries FROM 1 FOR 1) = '\x12'::bytea ORDER BY id LIMIT 1000
"""

# The cell of the source, and that of the tenant.
CELLS_OF = f"""
SELECT coalesce(of_source.cell, '{CELL}'), coalesce(of_tenant.cell, '{CELL}')
FROM unnest(%s::text[], %s::text[]) WITH ORDINALITY AS sent (tenant_id, egress_id, position)
LEFT JOIN router.egress_sources AS source ON source.egress_id::text = sent.egress_id
LEFT JOIN router.pools AS of_source ON of_source.pool_id = source.pool_id
LEFT JOIN router.tenant_pools AS counted ON counted.tenant_id = nullif(sent.tenant_id, '')::uuid
LEFT JOIN router.pools AS of_tenant ON of_tenant.pool_id = counted.pool_id
ORDER BY position
"""  # noqa: S608 - constants only


async def append(tx: Transaction, results: Results, cell: str = CELL) -> None:
    if results.results or results.commands or results.wanted_tenants:
        await tx.execute(
            "INSERT INTO router.results (cell, entries) VALUES (%s, %s)",
            (cell, results.SerializeToString()),
        )


async def append_to_all(tx: Transaction, results: Results) -> None:
    """To each cell."""
    await tx.execute(
        "INSERT INTO router.results (cell, entries) SELECT cell, %s::bytea FROM router.cells",
        (results.SerializeToString(),),
    )


async def append_reports(tx: Transaction, reports: Sequence[Result]) -> set[str]:
    """Append bounces and complaints that arrived as mail to the cells that count them. Returns
    these cells."""
    by_cell: dict[str, list[Result]] = {}
    for cell, report in await reports_by_cell(tx, reports):
        by_cell.setdefault(cell, []).append(report)
    for cell, found in by_cell.items():
        await append(tx, Results(results=found), cell)
    return set(by_cell)


async def reports_by_cell(tx: Transaction, reports: Sequence[Result]) -> list[tuple[str, Result]]:
    """Each with its cell. If the tenant has moved to another cell since, there are two: one that
    names only the source, and one that does not."""
    if not reports:
        return []
    tenants = [ScheduledQueue.of(one.queue_id).tenant_id for one in reports]
    cells = await tx.rows(CELLS_OF, (tenants, [one.egress_id for one in reports]))
    found: list[tuple[str, Result]] = []
    for report, tenant_id, (of_source, of_tenant) in zip(reports, tenants, cells, strict=True):
        if of_source == of_tenant or not (tenant_id and report.egress_id):
            found.append((of_tenant if tenant_id else of_source, report))
            continue
        alone = Result()
        alone.CopyFrom(report)
        alone.queue_id, alone.domain_id = report.queue_id.removeprefix(tenant_id), ""
        report.egress_id = ""
        found += [(of_source, alone), (of_tenant, report)]
    return found


async def take_over(tx: Transaction, cell: str) -> tuple[list[InFlightCount], Results]:
    """Read the assignments in flight, and drain the results, for a new scheduler."""
    rows = await tx.rows(TAKE_OVER, {"cell": cell})
    in_flight = [InFlightCount(*row[:3]) for row in rows if row[3] is None]
    return in_flight, parse(row[3] for row in rows if row[3] is not None)


async def drain(tx: Transaction, cell: str) -> Results:
    rows = await tx.rows("DELETE FROM router.results WHERE cell = %s RETURNING entries", (cell,))
    return parse(entries for (entries,) in rows)


async def read_commands(tx: Transaction) -> list[PolicyCommand]:
    """The commands that the schedulers of all cells have not yet obeyed."""
    rows = await tx.rows(READ_COMMANDS)
    return list(parse(row[0] for row in rows).commands)


async def read_in_flight(tx: Transaction) -> list[InFlightCount]:
    """Of all cells."""
    rows = await tx.rows(
        "SELECT queue_id, egress_id, count(*) FROM router.messages"
        " WHERE state = 'assigned' GROUP BY 1, 2"
    )
    return [InFlightCount(*row) for row in rows]


def parse(entries: Iterable[bytes]) -> Results:
    """Entries of messages that repeat concatenate."""
    return Results.FromString(b"".join(entries))


async def load_sent_from(tx: Transaction, ids: Sequence[str]) -> dict[str, LastAssignment]:
    """Where messages left; without those whose day was dropped."""
    rows = await tx.rows(
        "SELECT message_id::text, queue_id, egress_id, context,"
        " extract(epoch FROM assigned_at)::float8 FROM router.messages"
        " WHERE message_id = ANY(%s::uuid[]) AND egress_id <> ''",
        (list(ids),),
    )
    return {row[0]: sent_from(row) for row in rows}


def sent_from(row: Row) -> LastAssignment:
    message_id, queue_id, egress_id, raw, assigned_s = row
    context = MessageContext.FromString(raw)
    return LastAssignment(
        message_id,
        queue_id,
        egress_id,
        context.domain_id,
        assigned_s or 0.0,
        context.campaign_id,
    )
