"""Figures of reports about domains, by day. Each report counts once; rows and reports of a domain
and day are bounded."""

from collections.abc import Sequence
from datetime import date, timedelta
from hashlib import sha256
from typing import NamedTuple

import msgspec

from kernel.database import Transaction
from services.delivery.domain.domain_reports import Detail, DomainReportSummary

ROWS_MAX = 500  # of a domain, kind and day
REPORTS_MAX = 1_000  # of a domain, kind and day
RETENTION_DAYS = 90
SHOWN_MAX = 100  # rows of an answer
COUNTED, REPEATED, TOO_MANY = "counted", "repeated", "too_many"

# Locks the day, so that reports of a domain are added one after the other.
LOCK_DAY = """
INSERT INTO delivery.report_days (domain_id, kind, day, tenant_id) VALUES (%s, %s, %s, %s)
ON CONFLICT (domain_id, kind, day) DO UPDATE SET tenant_id = excluded.tenant_id
RETURNING reports, rows
"""

ADD_REPORT = """
INSERT INTO delivery.received_reports (domain_id, digest, day) VALUES (%s, %b, %s)
ON CONFLICT (domain_id, digest) DO NOTHING
"""

KNOWN = """
SELECT digest FROM delivery.report_rows
WHERE domain_id = %s AND kind = %s AND day = %s AND digest = ANY(%b::bytea[])
"""

ADD_ROWS = """
INSERT INTO delivery.report_rows (domain_id, kind, day, tenant_id, digest, detail, count)
SELECT %s, %s, %s, %s, * FROM unnest(%b::bytea[], %s::text[], %s::bigint[])
ON CONFLICT (domain_id, kind, day, digest)
DO UPDATE SET count = delivery.report_rows.count + excluded.count
"""

ADD_TO_DAY = """
UPDATE delivery.report_days
SET reports = reports + 1, rows = rows + %s, passed = passed + %s, failed = failed + %s
WHERE domain_id = %s AND kind = %s AND day = %s
"""

DAYS = """
SELECT day, reports, passed, failed FROM delivery.report_days
WHERE domain_id = %s AND kind = %s AND day BETWEEN %s AND %s AND reports > 0 ORDER BY day
"""

ROWS = """
SELECT min(detail), sum(count)::bigint FROM delivery.report_rows
WHERE domain_id = %s AND kind = %s AND day BETWEEN %s AND %s
GROUP BY digest ORDER BY 2 DESC, digest LIMIT %s
"""

TABLES = ("report_days", "report_rows", "received_reports")
EXPIRE = """
DELETE FROM delivery.{table} WHERE ctid = ANY(ARRAY(
    SELECT ctid FROM delivery.{table} WHERE day < %s ORDER BY day LIMIT 500))
"""


class TenantDomain(NamedTuple):
    """Whose figures they are."""

    tenant_id: str
    domain_id: str


class DayReportCounts(NamedTuple):
    """The reports that begin on a day. passed, failed: messages, or sessions."""

    day: date
    reports: int
    passed: int
    failed: int


class DayRange(NamedTuple):
    """Both days are part of it."""

    since: date
    until: date


async def add(
    tx: Transaction,
    owner: TenantDomain,
    figures: DomainReportSummary,
    *,
    rows: Sequence[tuple[Detail, int]],
) -> str:
    """Add a report; returns COUNTED, or why it is not: REPEATED, TOO_MANY."""
    place = (owner.domain_id, figures.kind, figures.day)
    [(reports, known_rows)] = await tx.rows(LOCK_DAY, (*place, owner.tenant_id))
    if reports >= REPORTS_MAX:
        return TOO_MANY
    identity = "\0".join((figures.kind, figures.organization, figures.report_id, figures.domain))
    digest = sha256(identity.encode()).digest()
    if not await tx.execute(ADD_REPORT, (owner.domain_id, digest, figures.day)):
        return REPEATED
    added = await _add_rows(tx, owner, figures, rows=rows, room=ROWS_MAX - known_rows)
    await tx.execute(ADD_TO_DAY, (added, figures.passed, figures.failed, *place))
    return COUNTED


async def _add_rows(
    tx: Transaction,
    owner: TenantDomain,
    figures: DomainReportSummary,
    *,
    rows: Sequence[tuple[Detail, int]],
    room: int,
) -> int:
    """Returns how many are new. Those beyond the room are left out; the day counts them."""
    place = (owner.domain_id, figures.kind, figures.day)
    texts = {msgspec.json.encode(detail): count for detail, count in rows}
    by_digest = {sha256(text).digest(): (text.decode(), n) for text, n in texts.items()}
    found = await tx.rows(KNOWN, (*place, list(by_digest)))
    known = {bytes(digest) for (digest,) in found}
    new = [digest for digest in by_digest if digest not in known][:room]
    chosen = sorted([*known, *new])
    if chosen:
        details, counts = zip(*(by_digest[one] for one in chosen), strict=True)
        values = (chosen, list(details), list(counts))
        await tx.execute(ADD_ROWS, (*place, owner.tenant_id, *values))
    return len(new)


async def days(
    tx: Transaction, domain_id: str, *, kind: str, period: DayRange
) -> list[DayReportCounts]:
    return [DayReportCounts(*row) for row in await tx.rows(DAYS, (domain_id, kind, *period))]


async def rows(
    tx: Transaction, domain_id: str, *, kind: str, period: DayRange
) -> list[tuple[Detail, int]]:
    """The largest ones of all days."""
    found = await tx.rows(ROWS, (domain_id, kind, *period, SHOWN_MAX))
    return [(msgspec.json.decode(text, type=Detail), count) for text, count in found]


async def expire(tx: Transaction, today: date) -> int:
    """Delete up to 500 rows of each table that are past their retention; returns how many."""
    before = today - timedelta(days=RETENTION_DAYS)
    return sum([await tx.execute(EXPIRE.format(table=one), (before,)) for one in TABLES])
