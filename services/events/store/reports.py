"""Saved reports, and the mails of those that wait to be sent."""

from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from contracts.events.v1.events_pb2 import ReportReady
from contracts.events.v1.events_service_pb2 import GetMetricsRequest
from kernel.database import Database, Row, RowOwner, Transaction
from kernel.ids import MAX, NIL, creation_time_of
from services.events.domain.report import SETTLE, ScheduledReport
from services.events.store.exports import PageBounds

COLUMNS = (
    "id::text, account_id::text, coalesce(tenant_id::text, ''), name, query, frequency, timezone,"
    " webhook, email, next_end, last_end"
)
LOCK_OWNER = "SELECT pg_advisory_xact_lock(hashtextextended('events.reports/' || %s, 0))"
INSERT = f"""
INSERT INTO events.reports
    (id, account_id, tenant_id, name, query, frequency, timezone, webhook, email, next_end)
SELECT %(id)s::uuid, %(account)s::uuid, nullif(%(tenant)s, '')::uuid, %(name)s, %(query)s::bytea,
    %(frequency)s, %(timezone)s, %(webhook)s, %(email)s, %(next_end)s
WHERE (SELECT count(*) FROM events.reports
    WHERE coalesce(tenant_id, account_id) = %(owner)s
    ) < %(most)s
RETURNING {COLUMNS}
"""  # noqa: S608 - constants only
PAGE = f"""
SELECT {COLUMNS} FROM events.reports
WHERE {{column}} = %(owner)s AND id > %(low)s AND id < %(high)s {{only}}
ORDER BY id {{order}} LIMIT %(limit)s
"""  # noqa: S608 - constants only
DELETE = "DELETE FROM events.reports WHERE id = %s"
DUE = f"""
SELECT {COLUMNS} FROM events.reports
WHERE next_end <= now() - %(settle)s AND turn_at <= now() ORDER BY turn_at LIMIT 1
"""  # noqa: S608 - constants only
ADVANCE = """
UPDATE events.reports SET next_end = %(following)s, last_end = %(end)s, turn_at = now()
WHERE id = %(id)s AND next_end = %(end)s
"""
POSTPONE = """
UPDATE events.reports SET turn_at = now() + make_interval(secs => %s) WHERE id = %s
"""
ADD_MAIL = """
INSERT INTO events.report_mails (report_id, period_end, account_id, tenant_id, event)
VALUES (%(id)s, %(end)s, %(account)s, nullif(%(tenant)s, '')::uuid, %(event)s)
ON CONFLICT DO NOTHING
"""
CLAIM_MAILS = """
UPDATE events.report_mails SET due_at = now() + make_interval(secs => %s)
WHERE (report_id, period_end) IN (SELECT report_id, period_end FROM events.report_mails
    WHERE due_at <= now() ORDER BY due_at LIMIT %s FOR UPDATE SKIP LOCKED)
RETURNING report_id::text, period_end, account_id::text, event,
    created_at < now() - interval '1 day'
"""
FINISH_MAIL = "DELETE FROM events.report_mails WHERE report_id = %s AND period_end = %s"


DELETE_OF_TENANTS = "DELETE FROM events.reports WHERE tenant_id = ANY(%s::uuid[])"
DELETE_OF_ACCOUNTS = "DELETE FROM events.reports WHERE account_id = ANY(%s::uuid[])"


async def delete_of_tenants(tx: Transaction, tenant_ids: Sequence[str]) -> None:
    await tx.execute(DELETE_OF_TENANTS, (list(tenant_ids),))


async def delete_of_accounts(tx: Transaction, account_ids: Sequence[str]) -> None:
    """Also those of their tenants."""
    await tx.execute(DELETE_OF_ACCOUNTS, (list(account_ids),))


class WaitingReportMail(NamedTuple):
    """is_late: it is not tried again."""

    report_id: str
    period_end: datetime
    account_id: str
    event: ReportReady
    is_late: bool

    @property
    def key(self) -> str:
        """Of one mail, however often it is sent."""
        return f"report {self.report_id} {int(self.period_end.timestamp())}"


def report_of(row: Row) -> ScheduledReport:
    report_id, account_id, tenant_id, name, query, frequency, timezone, webhook, email = row[:9]
    return ScheduledReport(
        report_id, account_id, tenant_id, name, GetMetricsRequest.FromString(query), frequency,
        timezone, webhook, email, creation_time_of(UUID(report_id)), *row[9:],
    )  # fmt: skip


class ReportStore:
    """What a tenant or an account sees of its reports. database: with the role that row-level
    security binds."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def insert(self, new: ScheduledReport, *, most: int) -> ScheduledReport | None:
        """None if the owner has so many already."""
        values = {
            "id": new.id, "account": new.account_id, "tenant": new.tenant_id, "name": new.name,
            "query": new.query.SerializeToString(), "frequency": new.frequency,
            "timezone": new.timezone, "webhook": new.webhook, "email": new.email,
            "next_end": new.next_end, "most": most, "owner": new.owner_id,
        }  # fmt: skip
        owner = RowOwner(new.tenant_id or None, None if new.tenant_id else new.account_id)
        async with self._transaction(owner) as tx:
            await tx.rows(LOCK_OWNER, (new.owner_id,))
            rows = await tx.rows(INSERT, values)
        return report_of(rows[0]) if rows else None

    async def page(
        self, owner: RowOwner, *, limit: int, cursors: PageBounds, only: str = ""
    ) -> list[ScheduledReport]:
        """Newest first; with `before`, the nearest newer ones. only: the one with this id."""
        statement = PAGE.format(
            column="tenant_id" if owner.tenant_id else "account_id",
            order="ASC" if cursors.before else "DESC",
            only="AND id = %(only)s" if only else "",
        )
        values = {
            "owner": owner.tenant_id or owner.account_id, "limit": limit,
            "low": cursors.before or NIL, "high": cursors.after or MAX, "only": only or None,
        }  # fmt: skip
        async with self._transaction(owner) as tx:
            found = [report_of(row) for row in await tx.rows(statement, values)]
        return found[::-1] if cursors.before else found

    async def delete(self, owner: RowOwner, report_id: str) -> bool:
        """Whether it existed. A mail of it that waits is not sent."""
        async with self._transaction(owner) as tx:
            return bool(await tx.execute(DELETE, (report_id,)))

    def _transaction(self, owner: RowOwner) -> AbstractAsyncContextManager[Transaction]:
        return self._database.transaction(**owner._asdict())


async def next_due(database: Database) -> ScheduledReport | None:
    """One whose period is complete."""
    rows = await database.execute_autocommit(DUE, {"settle": SETTLE})
    return report_of(rows[0]) if rows else None


async def advance(tx: Transaction, report: ScheduledReport) -> bool:
    """Go on to the next period; False if another process has."""
    values = {"id": report.id, "end": report.next_end, "following": report.following_end}
    return bool(await tx.execute(ADVANCE, values))


async def postpone(tx: Transaction, report: ScheduledReport, *, delay_s: float) -> None:
    await tx.execute(POSTPONE, (delay_s, report.id))


async def add_mail(tx: Transaction, report: ScheduledReport, event: ReportReady) -> None:
    values = {
        "id": report.id, "end": report.next_end, "account": report.account_id,
        "tenant": report.tenant_id, "event": event.SerializeToString(),
    }  # fmt: skip
    await tx.execute(ADD_MAIL, values)


async def claim_mails(tx: Transaction, *, limit: int, retry_s: float) -> list[WaitingReportMail]:
    """Others do not claim them for retry_s."""
    rows = await tx.rows(CLAIM_MAILS, (retry_s, limit))
    return [
        WaitingReportMail(report_id, end, account_id, ReportReady.FromString(event), late)
        for report_id, end, account_id, event, late in rows
    ]


async def finish_mail(tx: Transaction, mail: WaitingReportMail) -> None:
    await tx.execute(FINISH_MAIL, (mail.report_id, mail.period_end))
