"""TLS reports (RFC 8460): sessions are counted in memory, and the counts are added to the database.
A day later, those of each domain are sent to the addresses that it names."""

import logging
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta
from itertools import islice

from kernel import clock
from kernel.errors import Fenced, Unavailable
from kernel.failpoint import failpoint
from kernel.lease import Lease
from mail.tls_rpt import ReportingOrganization, ResultType, TlsReport
from services.delivery.clients.report_sender import ReportFailed, TlsReportSender
from services.delivery.domain.attempt_result import AttemptResult, ReceivingServer
from services.delivery.domain.tls_policy import TlsPolicy
from services.delivery.domain.tls_report import (
    CountedSession,
    failed_session,
    fetch_failure,
    opened_session,
)
from services.delivery.store import tls_reports as store
from services.delivery.store.tls_reports import DueTlsReport, TlsReportStore, TlsSessionKey

KEYS_MAX = 10_000  # counts in memory; further kinds of results are left out
PAGE, PAGE_OCTETS = 500, 1 << 20  # of one statement: a policy has up to 64 KB
GIVE_UP_AFTER = timedelta(days=2)  # from the end of the day
FIRST = DueTlsReport(date.min, "")

logger = logging.getLogger(__name__)


class TlsSessionCounter:
    """Counts the sessions under policies. store: None counts nothing."""

    def __init__(self, report_store: TlsReportStore | None) -> None:
        self._store = report_store
        self._counts: dict[TlsSessionKey, int] = {}

    def count_opened(self, policy: TlsPolicy, peer: ReceivingServer) -> None:
        if self._store is not None:
            self._count(opened_session(policy, peer))

    def count_failed(self, policy: TlsPolicy, result: AttemptResult) -> None:
        if self._store is not None:
            self._count(failed_session(policy, result))

    def count_fetch(self, policy: TlsPolicy, kind: ResultType, why: str) -> None:
        """A policy that could not be fetched."""
        if self._store is not None:
            self._count(fetch_failure(policy, kind, why))

    def _count(self, found: CountedSession | None) -> None:
        if found is None:
            return
        key = TlsSessionKey(clock.now().date(), *found)
        if key in self._counts or len(self._counts) < KEYS_MAX:
            self._counts[key] = self._counts.get(key, 0) + 1

    async def flush(self) -> None:
        """Add what was counted to the database; after a failure, later. Raises Unavailable."""
        while self._store is not None and self._counts:
            page = self._next_page()
            for key in page:
                del self._counts[key]
            try:
                await self._store.add(page)
            except Unavailable:
                for key, sessions in page.items():
                    self._counts[key] = self._counts.get(key, 0) + sessions
                raise
            except Exception:  # these counts cannot be stored
                logger.exception("delivery.tls_report.counts_lost")

    def _next_page(self) -> dict[TlsSessionKey, int]:
        page: dict[TlsSessionKey, int] = {}
        octets = 0
        for key, sessions in islice(self._counts.items(), PAGE):
            octets += key.policy.octets
            if page and octets > PAGE_OCTETS:
                break
            page[key] = sessions
        return page

    async def close(self) -> None:
        """Add what is left. What the database does not take now is lost."""
        with suppress(Unavailable):
            await self.flush()


class DailyTlsReporter:
    """Sends the reports of past days, in the process that holds the lease."""

    def __init__(
        self,
        report_store: TlsReportStore,
        lease: Lease,
        sender: TlsReportSender,
        *,
        reporter: ReportingOrganization,
    ) -> None:
        self._store = report_store
        self.lease = lease
        self._sender = sender
        self._reporter = reporter

    async def run_once(self) -> None:
        """Send every report that is due; one that fails is due again."""
        after = FIRST
        while self.lease.fence is not None and (due := await self._store.due(after)):
            for report in due:
                try:
                    await self._send(report)
                except Fenced:
                    return
                except Unavailable:
                    raise
                except Exception:  # affects this report alone
                    extra = {"domain": report.domain, "day": str(report.day)}
                    logger.exception("delivery.tls_report.crashed", extra=extra)
            after = due[-1]

    async def close(self) -> None:
        await self.lease.release()
        await self._sender.close()

    async def _send(self, report: DueTlsReport) -> None:
        start = datetime.combine(report.day, time.min, UTC)
        end = start + timedelta(days=1) - timedelta(seconds=1)
        fields = {"domain": report.domain, "day": str(report.day)}
        try:
            sent = await self._sender.send(
                TlsReport(
                    domain=report.domain,
                    reporter=self._reporter,
                    start=start,
                    end=end,
                    results=tuple(await self._store.results(report)),
                )
            )
        except ReportFailed as error:
            logger.warning(
                "delivery.tls_report.failed", extra={**fields, "error": str(error)[:300]}
            )
            if clock.now() < end + GIVE_UP_AFTER:
                return
        else:
            logger.info("delivery.tls_report.sent", extra={**fields, "to": sent})
        failpoint("delivery.tls_report.sent")
        async with self.lease.transaction() as tx:
            await store.delete(tx, report)
