"""Which tenants the owner of a cell may serve: those that are counted in it, and in no other.

Directories of processes differ for moments, so the row of a tenant decides. An owner that wants a
tenant which is counted in another cell requests it; the one that has it lets it go once it has no
message in flight, which would be counted in both.
"""

from collections.abc import Iterable, Mapping, Sequence

from contracts.router.v1.results_pb2 import Result, Results
from kernel import clock
from kernel.bounded_dict import BoundedDict
from kernel.database import Transaction
from kernel.lease import Lease
from services.router.domain.cell import Cell
from services.router.domain.deficit_round_robin import ActiveQueue
from services.router.domain.ledger import LimitScope, ScopeKind
from services.router.domain.message import ScheduledQueue
from services.router.domain.reasons import WaitReason
from services.router.domain.results import is_refunded, is_report
from services.router.domain.scopes import sandbox_scope
from services.router.store import policies, results, tenant_pools, usage
from services.router.store.tenant_pools import TenantClaim

REQUEST_INTERVAL_S = 1.0
REQUESTED_MAX = 10_000


class TenantClaimer:
    """A part of a tick. excluded: tenants whose mail this tick leaves alone. leaving: of these,
    those that another cell is to have, with their new pools. elsewhere: with the cells that have
    them.
    """

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self.excluded: set[str] = set()
        self._unknown: set[str] = set()
        self.leaving: dict[str, str] = {}
        self.elsewhere: dict[str, str] = {}
        self.requested: set[str] = set()  # cells that have some, in this tick
        self._requested_at_s: BoundedDict[str, float] = BoundedDict(REQUESTED_MAX)

    async def claim(
        self, tx: Transaction, cell: Cell, tenants: Iterable[str], *, now_s: float
    ) -> None:
        """Find out which of these tenants may be served."""
        self.excluded, self.leaving, self.elsewhere, self.requested = set(), {}, {}, set()
        self._unknown = set()
        wanted = {
            one: "" if is_unknown(cell, one, now_s) else cell.scopes.pool_of(one) for one in tenants
        }
        if not wanted:
            return
        found = await tenant_pools.claim(tx, self._lease.name, wanted)
        mine = [one for one in found if self._is_mine(one)]
        moved = {one.tenant_id for one in mine if self._has_moved_within(one, wanted)}
        if moved:
            await tenant_pools.change(tx, {one: wanted[one] for one in moved})
        await self._add(tx, cell, [one.tenant_id for one in mine])
        others_ids = wanted.keys() - {one.tenant_id for one in mine}
        self._unknown = {one for one in others_ids if not wanted[one]}
        self.excluded = others_ids - self._unknown
        others = [one for one in found if one.tenant_id in self.excluded]
        await self._settle(tx, others, wanted)

    def served(self, active: list[ActiveQueue]) -> list[ActiveQueue]:
        if not self.excluded:
            return active
        return [one for one in active if one.queue.tenant_id not in self.excluded]

    def granted(self, quotas: Mapping[str, int]) -> Mapping[str, int]:
        """Without those of unknown tenants: a record that has arrived since does not make them
        claimed. quotas: by queue."""
        if not self._unknown:
            return quotas
        return {
            queue_id: quota
            for queue_id, quota in quotas.items()
            if ScheduledQueue.of(queue_id).tenant_id not in self._unknown
        }

    def _is_mine(self, one: TenantClaim) -> bool:
        is_counted_here = one.pool_id is not None and one.cell == self._lease.name
        return one.was_added or (is_counted_here and one.wanted_cell == self._lease.name)

    def _has_moved_within(self, one: TenantClaim, wanted: dict[str, str]) -> bool:
        pool_id = wanted[one.tenant_id]
        return not one.was_added and bool(pool_id) and one.pool_id != pool_id

    async def _add(self, tx: Transaction, cell: Cell, tenant_ids: Sequence[str]) -> None:
        """What another cell has left of those that are new here is read: it may be newer than what
        was read with the cell."""
        fresh = [one for one in tenant_ids if one not in cell.changed]
        if fresh and cell.share.count > 1:
            cell.adaptive.feedback.forget_tenants(fresh)
            cell.adaptive.reputation.forget_tenants(fresh)
            await policies.load_of_tenants(tx, cell.adaptive, fresh)
            cell.load(await usage.read_counters_of(tx, map(sandbox_scope, fresh)))
        cell.changed.difference_update(tenant_ids)
        cell.tenants.update(tenant_ids)

    async def _settle(
        self, tx: Transaction, others: Iterable[TenantClaim], wanted: dict[str, str]
    ) -> None:
        name = self._lease.name
        to_request: dict[str, list[str]] = {}
        for one in others:
            if one.pool_id is None:  # counted nowhere; or since a moment ago
                if one.wanted_cell != name:
                    self.elsewhere[one.tenant_id] = one.wanted_cell
            elif one.cell == name:
                self.leaving[one.tenant_id] = wanted[one.tenant_id]
            elif one.wanted_cell != name:
                self.elsewhere[one.tenant_id] = one.cell
            elif self._may_request(one.tenant_id):
                to_request.setdefault(one.cell, []).append(one.tenant_id)
        for other, tenant_ids in to_request.items():
            await results.append(tx, Results(wanted_tenants=tenant_ids), other)
        self.requested = set(to_request)

    def _may_request(self, tenant_id: str) -> bool:
        now_s = clock.monotonic_s()
        if now_s < self._requested_at_s.get(tenant_id, -REQUEST_INTERVAL_S) + REQUEST_INTERVAL_S:
            return False
        self._requested_at_s[tenant_id] = now_s
        return True


def tenants_of(active: Iterable[ActiveQueue], received: Iterable[Result]) -> set[str]:
    """Of mail that may be sent, and of results that change more than what is in flight."""
    found = {one.queue.tenant_id for one in active}
    found.update(
        ScheduledQueue.of(one.queue_id).tenant_id
        for one in received
        if is_report(one) or is_refunded(one)
    )
    found.discard("")
    return found


def is_unknown(cell: Cell, tenant_id: str, now_s: float) -> bool:
    """Whether its record has not arrived: its mail waits, and it has no pool yet."""
    found = cell.policies.suspension_of(LimitScope(ScopeKind.TENANT, tenant_id), now_s)
    return found is not None and found.reason is WaitReason.TENANT_UNKNOWN
