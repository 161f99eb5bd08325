"""Exports usage to a billing system, if the operator has chosen one. One process at a time.

What a meter has grown by on a day is a row before it is sent, and marked afterwards. A process that
dies between these sends it again, with the same identifier.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta

from kernel import clock
from kernel.errors import Fenced, Unavailable
from kernel.failpoint import failpoint
from kernel.ids import NIL
from kernel.lease import Lease
from services.ingest.clients.billing import BillingClient, BillingRefusal
from services.ingest.domain.invoice import OPEN_DAYS
from services.ingest.domain.problem import Problem
from services.ingest.domain.usage_export import UsageExport
from services.ingest.store import usage_exports
from services.ingest.store.usage_exports import BilledAccount, MeterDayKey

PAGE = 100
# Twenty a second: a nightly burst of all accounts would meet the rate limit of the system.
PAUSE_S = 0.05
# What the last open day of a month counts is whole on the next one. Stripe takes events of the
# last 35 days.
LOOK_BACK = timedelta(days=OPEN_DAYS + 1)
FAILURES_MAX = 10  # accounts in a run: then it is not theirs

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class UsageExporter:
    """The action of a loop. sends_of: what an account has sent by day, of a month."""

    lease: Lease
    client: BillingClient
    sends_of: Callable[[str, date], Awaitable[Mapping[date, int]]]

    async def run_once(self) -> None:
        try:
            if self.lease.fence is not None:
                await self._add_all()
                await self._send_all()
        except Fenced:
            logger.info("usage.leader_changed")
        except (Unavailable, Problem) as error:  # the next run goes on
            logger.warning("usage.not_exported", extra={"reason": str(error)})

    async def _add_all(self) -> None:
        """An account that cannot be counted holds up neither others nor what waits to be sent."""
        after, failures, first = str(NIL), 0, first_day(clock.now().date())
        while after:
            async with self.lease.transaction() as tx:
                page = await usage_exports.load_accounts(tx, first, after=after, limit=PAGE)
            for account in [one for one in page if one.has_existed]:
                failures += not await self._try_add(account)
                if failures == FAILURES_MAX:
                    return
            after = page[-1].account_id if len(page) == PAGE else ""

    async def _try_add(self, account: BilledAccount) -> bool:
        """Whether it was counted. Raises Fenced."""
        try:
            await self._add(account)
        except (Unavailable, Problem) as error:  # the next run goes on
            extra = {"account_id": account.account_id, "reason": str(error)}
            logger.warning("usage.not_counted", extra=extra)
            return False
        return True

    async def _add(self, account: BilledAccount) -> None:
        today = clock.now().date()
        first = first_day(today)
        quantities: dict[MeterDayKey, int] = {}
        for month in sorted({first, today.replace(day=1)}):
            for day, sent in (await self.sends_of(account.account_id, month)).items():
                key = MeterDayKey("sends", max(day, month))  # a correction counts on the first day
                quantities[key] = quantities.get(key, 0) + sent
        async with self.lease.transaction() as tx:
            counts = await usage_exports.load_counts(tx, account.account_id, first, end=today)
            ended = {key: n for key, n in (quantities | counts).items() if key.day < today}
            await usage_exports.add_versions(tx, account, ended)

    async def _send_all(self) -> None:
        after: UsageExport | None = None
        more = True
        while more and self.lease.fence is not None:
            async with self.lease.transaction() as tx:
                page = await usage_exports.load_unsent(tx, after, limit=PAGE)
            for export in page:
                await self._send(export)
                await asyncio.sleep(PAUSE_S)
            more = len(page) == PAGE
            after = page[-1] if page else None

    async def _send(self, export: UsageExport) -> None:
        try:
            await self.client.send(export)
        except BillingRefusal as error:  # others must not wait for it
            extra = {"export": export.identifier, "reason": str(error)}
            logger.error("usage.export_refused", extra=extra)
            return
        failpoint("ingest.usage.exported")
        async with self.lease.transaction() as tx:
            await usage_exports.mark_sent(tx, export)


def first_day(today: date) -> date:
    """The first of those that may have grown."""
    return (today - LOOK_BACK).replace(day=1)
