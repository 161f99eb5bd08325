"""What a tick does with the results and the mail of tenants that it receives: find out whose they
are, and load what has been used before."""

from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass

from contracts.router.v1.results_pb2 import Result, Results
from kernel.database import Transaction
from kernel.lease import Lease
from services.router.domain.cell import Cell
from services.router.domain.deficit_round_robin import ActiveQueue
from services.router.domain.results import is_report
from services.router.loops.tenant_claims import TenantClaimer, tenants_of
from services.router.store import results, usage
from services.router.store.tick import TickInput

Notify = Callable[[Transaction, Collection[str]], Awaitable[None]]


async def notify_none(_: Transaction, __: Collection[str]) -> None:
    """There is no other cell."""


@dataclass(frozen=True, slots=True)
class SchedulerCallbacks:
    """on_unresolved: called when messages wait for DNS. notify: tells the schedulers of other
    cells. account_of: returns the account of a tenant in the directory, or an empty text."""

    on_unresolved: Callable[[], None] = lambda: None
    notify: Notify = notify_none
    account_of: Callable[[str], str] = lambda _: ""


@dataclass(frozen=True, slots=True)
class ResultDivider:
    """notify: tells the schedulers of other cells."""

    lease: Lease
    claims: TenantClaimer
    notify: Notify

    async def divide(
        self, tx: Transaction, cell: Cell, earlier: Results, *, snapshot: TickInput
    ) -> tuple[Sequence[Result], Sequence[Result]]:
        """The results of this cell: of those that a predecessor has left, and of those of a tick,
        for which all that they need is loaded, as for the mail of the tick."""
        both = snapshot.results
        if earlier.results or earlier.wanted_tenants:
            both = Results()
            both.MergeFrom(earlier)
            both.MergeFrom(snapshot.results)
        await self.claim(tx, cell, both, active=snapshot.active, now_s=snapshot.now_s)
        before = await self.own(tx, cell, earlier.results)
        return before, await self.own(tx, cell, snapshot.results.results)

    async def claim(
        self,
        tx: Transaction,
        cell: Cell,
        received: Results,
        *,
        active: Sequence[ActiveQueue] = (),
        now_s: float,
    ) -> None:
        """Find out which tenants may be served, and load the counters of those with mail or with
        results that give something back."""
        requested = set(received.wanted_tenants) - cell.tenants
        tenants = (tenants_of(active, received.results) - cell.tenants) | requested
        await self.claims.claim(tx, cell, tenants, now_s=now_s)
        if scopes := cell.unloaded(active, received.results):
            cell.load(await usage.read_counters_of(tx, scopes), scopes)

    async def own(
        self, tx: Transaction, cell: Cell, received: Sequence[Result]
    ) -> Sequence[Result]:
        """Without reports that another cell counts, which gets them: what they are about has moved
        since they were recorded."""
        if cell.share.count == 1 or not (reports := [one for one in received if is_report(one)]):
            return received
        own = [one for one in received if not is_report(one)]
        others: list[Result] = []
        for name, report in await results.reports_by_cell(tx, reports):
            (own if name == self.lease.name else others).append(report)
        await self.notify(tx, await results.append_reports(tx, others))
        return own

    async def apply(self, tx: Transaction, cell: Cell, received: Results, *, now_s: float) -> None:
        """Outside of a tick."""
        await self.claim(tx, cell, received, now_s=now_s)
        own = await self.own(tx, cell, received.results)
        cell.apply_results(own, commands=received.commands, now_s=now_s)
