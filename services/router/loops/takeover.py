"""What a new scheduler reads of its predecessor, in pages, each in its own transaction: while a
process parses a million rows, its transaction would exceed idle_in_transaction_session_timeout."""

from kernel.lease import Lease
from services.router.domain.cell import Cell
from services.router.domain.ledger import LOADED_ON_DEMAND, Scope, ScopeKind
from services.router.store import policies, queues, usage


async def load_cell(lease: Lease, cell: Cell) -> None:
    """Load the policies, the scopes that block queues, and the counters of all scopes but those of
    tenants, which the ticks load when these have mail."""
    for kind in (kind for kind in ScopeKind if kind not in LOADED_ON_DEMAND):
        after: usage.CounterKey | None = usage.first_key(kind)
        while after is not None:
            async with lease.transaction() as tx:
                counters, after = await usage.read_counters_page(tx, kind, after)
            cell.load(counters)
    await load_adaptive_policies(lease, cell)
    keys = [""]
    while keys:
        async with lease.transaction() as tx:
            keys = await queues.read_blocking_scopes(tx, keys[-1])
        cell.load_blocking_scopes(scope for key in keys if (scope := Scope.of(key)))


async def load_adaptive_policies(lease: Lease, cell: Cell) -> None:
    """Load the warmups, overrides and standings, then the counts of each."""
    after: str | None = ""
    while after is not None:
        async with lease.transaction() as tx:
            events, after = await policies.read_latest_events_page(tx, after)
        cell.adaptive.load(events)
    after = ""
    while after is not None:
        async with lease.transaction() as tx:
            counts, after = await policies.read_counts_page(tx, after)
        cell.adaptive.restore_counts(counts)
