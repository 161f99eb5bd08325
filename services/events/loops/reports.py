"""Reports of periods that are complete, each once, and the mails of them.

The event, the mail to send and the next period are one transaction. The mail is sent by the API,
which accepts it once for each key, and then forgotten: a process that dies in between sends it
again, with the same key.
"""

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass

from kernel import clock
from kernel.database import Database
from kernel.errors import Fenced, Unavailable
from kernel.failpoint import failpoint
from kernel.health import DependencyHealth
from kernel.lease import Lease
from kernel.outbox import Outbox
from kernel.topics import encode
from services.events.clients.account_mail_sender import AccountMailSender
from services.events.clients.brands import TenantBrands
from services.events.domain.figures.periods import InvalidPeriod
from services.events.domain.figures.query import InvalidQuery
from services.events.domain.report import ScheduledReport, figures_of, mail_of
from services.events.store import reports
from services.events.store.export_pages import owner_of_rows
from services.events.store.metrics import load_metrics

CLAIMED_MAX = 10
RETRY_S = 60.0

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class ReportPublisher:
    """database: with the role that row-level security binds. system: with the one that sees all."""

    system: Database
    database: Database
    outbox: Outbox
    lease: Lease
    health: DependencyHealth
    egress_pools: Callable[[], Awaitable[Mapping[str, str]]]

    async def run_once(self) -> None:
        """Only the holder of the lease does."""
        try:
            while self.lease.fence is not None and (report := await reports.next_due(self.system)):
                await self._take(report)
        except Fenced:
            logger.info("report.lease_lost")

    async def _take(self, report: ScheduledReport) -> None:
        """Raises Fenced, Unavailable."""
        try:
            await self._publish(report)
        except Fenced:
            raise
        except Unavailable:
            await self._postpone(report)  # if it is this one's fault
            raise
        except Exception:
            logger.exception("report.failed", extra={"report_id": report.id})
            await self._postpone(report)

    async def _postpone(self, report: ScheduledReport) -> None:
        async with self.lease.transaction() as tx:
            await reports.postpone(tx, report, delay_s=RETRY_S)

    async def _publish(self, report: ScheduledReport) -> None:
        owner = owner_of_rows(report.account_id, report.tenant_id)
        try:
            found = await load_metrics(
                self.database, owner, report.request(),
                now=clock.now(), egress_pools=self.egress_pools,
            )  # fmt: skip
        except (InvalidPeriod, InvalidQuery) as error:  # as it would be the next time
            await self._skip(report, reason=str(error))
            return
        event = report.event(figures_of(found))
        failpoint("events.report.counted")
        async with self.lease.transaction() as tx:
            if not await reports.advance(tx, report):
                return
            if report.email:
                await reports.add_mail(tx, report, event)
            records = [encode(event, clock.now())] if report.webhook else []
            entry = await self.outbox.add(tx, records)
        failpoint("events.report.committed")
        if records:
            self.outbox.publish_in_background(entry, self.health)

    async def _skip(self, report: ScheduledReport, *, reason: str) -> None:
        """Such as a period with too many rows."""
        extra = {"report_id": report.id, "reason": reason}
        logger.warning("report.skipped", extra=extra)
        async with self.lease.transaction() as tx:
            await reports.advance(tx, report)


@dataclass(frozen=True, slots=True)
class ReportMailer:
    """Sends what waits; any number of replicas may at once."""

    database: Database
    sender: AccountMailSender
    directory: TenantBrands

    async def run_once(self) -> None:
        async with self.database.transaction() as tx:
            claimed = await reports.claim_mails(tx, limit=CLAIMED_MAX, retry_s=RETRY_S)
        for mail in claimed:
            to = await self.directory.billing_email_of(mail.account_id, account_wide=True)
            sent = bool(to) and await self._send(mail, to)
            failpoint("events.report.mailed")
            if sent or not to or mail.is_late:
                async with self.database.transaction() as tx:
                    await reports.finish_mail(tx, mail)

    async def _send(self, mail: reports.WaitingReportMail, to: str) -> bool:
        body = mail_of(mail.event, sender=self.sender.address, to=to)
        try:
            await self.sender.send_mail(body, key=mail.key)
        except (OSError, ValueError, TimeoutError) as error:
            extra = {"report_id": mail.report_id, "error": repr(error)}
            logger.warning("report.mail.failed", extra=extra)
            return False
        return True
