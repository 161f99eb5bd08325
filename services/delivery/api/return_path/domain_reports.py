"""Reports about domains: DMARC at `rua+<token>@`, TLS at `tls+<token>@` the host of a domain's
return path. The keyed token names the domain."""

import logging
from dataclasses import dataclass
from uuid import UUID

from contracts.ingest.v1.directory_pb2 import Domain
from kernel import clock, metrics
from kernel.database import Database
from kernel.errors import Unavailable
from kernel.failpoint import failpoint
from kernel.table import ReplicatedTable
from mail import verp
from mail.address import Mailbox
from mail.smtp_server_events import MessageReceived
from services.delivery.clients.mail_reader import MailReaderChild
from services.delivery.domain.domain_reports import (
    DomainReportSummary,
    is_current,
    is_related,
    rows_of,
)
from services.delivery.store import domain_reports as store
from services.delivery.store.domain_reports import TenantDomain

NO_REPORT = "550 5.7.1 Only DMARC and TLS reports are accepted here"
OTHER_DOMAIN = "550 5.7.1 The report is about another domain"

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class DomainReportRecorder:
    """keys: of the tokens, the current one and earlier ones."""

    keys: tuple[bytes, ...]
    domains: ReplicatedTable[Domain]
    reader: MailReaderChild[DomainReportSummary]
    database: Database

    def takes(self, mailbox: Mailbox) -> bool:
        """The record of a new domain may not have arrived; a deleted one has a record."""
        found = self._domain_of(mailbox)
        return found is not None and not self.domains.was_deleted(str(found))

    async def receive(self, event: MessageReceived) -> str:
        """Why a report cannot be taken; empty if there is none, or it is taken. Raises
        Unavailable or TimeoutError."""
        named = sorted({str(one) for box in event.recipients if (one := self._domain_of(box))})
        if not named:
            return ""
        figures = await self.reader.read(event.content)
        if not figures.kind:
            return _counted("no_report", figures, NO_REPORT)
        known = await self.domains.wait_for(named)
        if not all(map(self.domains.has_record, named)):
            raise Unavailable("the directory")
        related = [one for one in known.values() if is_related(figures.domain, one.name)]
        if not related:
            return _counted("other_domain", figures, OTHER_DOMAIN)
        if not is_current(figures, clock.now().date()):
            return _counted("expired_report", figures, "")
        for domain in related:
            await self._add(domain, figures)
        return ""

    async def _add(self, domain: Domain, figures: DomainReportSummary) -> None:
        owner = TenantDomain(domain.tenant_id, domain.domain_id)
        async with self.database.transaction() as tx:
            result = await store.add(tx, owner, figures, rows=rows_of(figures, domain))
        failpoint("delivery.domain_report.added")
        _counted(f"{figures.kind}_{result}", figures, "")

    def _domain_of(self, mailbox: Mailbox) -> UUID | None:
        found = (
            verp.parse_return_path(mailbox.local, keys=self.keys, prefix=prefix)
            for prefix in verp.REPORT_PREFIXES
        )
        return next((one for one in found if one is not None), None)


def _counted(result: str, figures: DomainReportSummary, reply: str) -> str:
    metrics.returned_mail.labels(result).inc()
    logger.info(
        "return_path.domain_report",
        extra={
            "result": result,
            "domain": figures.domain,
            "organization": figures.organization,
            "report_id": figures.report_id,
            "problem": figures.problem[:300],
        },
    )
    return reply
