"""What a new scheduler reads of its predecessor, in pages, each in its own transaction: while a
process parses a million rows, its transaction would exceed idle_in_transaction_session_timeout."""

from kernel.lease import Lease
from services.router.domain.cell import Cell
from services.router.domain.ledger import LOADED_ON_DEMAND, LimitScope, ScopeKind
from services.router.domain.message import CELL
from services.router.loops.received_results import Notify
from services.router.store import cells, policies, queues, tenant_pools, usage


async def load_cell(lease: Lease, cell: Cell, notify: Notify) -> Cell:
    """Load the share in limits, the policies, the scopes that block queues, and the counters of all
    scopes but those of tenants, which the ticks load when these have mail."""
    async with lease.transaction() as tx:
        share = await cells.read_share(tx, lease.name)
    cell.share.position, cell.share.count = share.position, share.count
    cell.share.revision = share.revision
    for kind in (kind for kind in ScopeKind if kind not in LOADED_ON_DEMAND):
        after: usage.CounterKey | None = usage.first_key(kind)
        while after is not None:
            async with lease.transaction() as tx:
                counters, after = await usage.read_counters_page(tx, lease.name, kind, after=after)
            cell.load(counters)
    await load_adaptive_policies(lease, cell)
    if share.count > 1:
        await pass_on_queues(lease, notify)
    keys = [""]
    while keys:
        async with lease.transaction() as tx:
            keys = await queues.read_blocking_scopes(tx, lease.name, keys[-1])
        cell.load_blocking_scopes(scope for key in keys if (scope := LimitScope.of(key)))
    return cell


async def load_adaptive_policies(lease: Lease, cell: Cell) -> None:
    """Load the warmups, overrides and standings, then the counts of each. What each cell stores for
    itself comes last, and what another one has stored of it only counts for a new cell."""
    for label in dict.fromkeys((CELL, lease.name)):
        after: str | None = ""
        while after is not None:
            async with lease.transaction() as tx:
                events, after = await policies.read_latest_events_page(tx, label, after)
            cell.adaptive.load(events)
    after = ""
    while after is not None:
        async with lease.transaction() as tx:
            counts, after = await policies.read_counts_page(tx, after)
        cell.adaptive.restore_counts(counts)


async def pass_on_queues(lease: Lease, notify: Notify) -> None:
    """Give the queues of tenants that have moved to their cells."""
    has_more = True
    while has_more:
        async with lease.transaction() as tx:
            targets, has_more = await tenant_pools.pass_on_moved(tx, lease.name)
            await notify(tx, targets)
