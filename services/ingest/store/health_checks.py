"""What health checks have found last, with the time since when it is so."""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import NamedTuple

from kernel.database import Transaction
from services.ingest.domain.health_checks import HealthFinding, HealthStatus

SAVE = """
INSERT INTO ingest.health_checks AS t (name, subject, status, detail, advice)
SELECT * FROM unnest(%s::text[], %s::text[], %s::text[], %s::text[], %s::text[])
ON CONFLICT (name, subject) DO UPDATE SET
    since = CASE WHEN t.status = excluded.status THEN t.since ELSE excluded.since END,
    status = excluded.status, checked_at = excluded.checked_at,
    detail = excluded.detail, advice = excluded.advice
"""
# Of a check that was made, the subjects that are no more.
FORGET = """
DELETE FROM ingest.health_checks AS t WHERE name = ANY(%s::text[]) AND NOT EXISTS (
    SELECT FROM unnest(%s::text[], %s::text[]) AS found(name, subject)
    WHERE found.name = t.name AND found.subject = t.subject)
"""
LOAD = """
SELECT name, subject, status, detail, advice, since, checked_at FROM ingest.health_checks
ORDER BY CASE status WHEN 'failed' THEN 0 WHEN 'unknown' THEN 1 ELSE 2 END, name, subject
LIMIT %s
"""
ASTRAY = """
SELECT external_id, id::text FROM ingest.tenants
WHERE NOT deleted AND pool_id IS NOT NULL AND NOT pool_id = ANY(%s::uuid[]) ORDER BY id LIMIT %s
"""
# Sooner after a failure, so that a correction is soon noticed.
IS_DUE = """
SELECT coalesce(max(checked_at), '-infinity') < now() - make_interval(
    secs => CASE WHEN bool_or(status = 'failed') THEN %s ELSE %s END)
FROM ingest.health_checks
"""
SHOWN_MAX = 10_000
NAMED_MAX = 5


class StoredFinding(NamedTuple):
    """since: when the finding's status began."""

    finding: HealthFinding
    since: datetime
    checked_at: datetime


async def save(tx: Transaction, findings: Sequence[HealthFinding], made: Collection[str]) -> None:
    """made: the checks that were made, also without a finding. An unknown one changes nothing."""
    known = {one for one in findings if one.status is not HealthStatus.UNKNOWN}
    await tx.execute(SAVE, columns_of(known))
    await tx.execute(FORGET, (sorted(made), *columns_of(findings)[:2]))


def columns_of(findings: Collection[HealthFinding]) -> list[list[str]]:
    ordered = sorted(set(findings))
    return [list(column) for column in zip(*ordered, strict=True)] or [[]] * 5


async def is_due(tx: Transaction, *, retry_s: float, interval_s: float) -> bool:
    """Whether they were last made so long ago; retry_s: if one has failed."""
    [(due,)] = await tx.rows(IS_DUE, (retry_s, interval_s))
    return bool(due)


async def load(tx: Transaction) -> list[StoredFinding]:
    """Those that failed first."""
    rows = await tx.rows(LOAD, (SHOWN_MAX,))
    return [
        StoredFinding(HealthFinding(name, subject, HealthStatus(status), detail, advice), since, at)
        for name, subject, status, detail, advice, since, at in rows
    ]


async def load_astray(tx: Transaction, pool_ids: Collection[str]) -> list[str]:
    """Some of the tenants whose pool is none of these, by external_id or id."""
    rows = await tx.rows(ASTRAY, (sorted(pool_ids), NAMED_MAX))
    return [name or tenant_id for name, tenant_id in rows]
