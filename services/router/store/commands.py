"""Commands to the schedulers: each reaches the cells that have what it is about, and no other."""

from uuid import UUID

from contracts.router.v1.policies_pb2 import PolicyCommand
from contracts.router.v1.results_pb2 import Results
from kernel.database import Transaction
from services.router.domain.cells import CellOf, first_cell
from services.router.domain.ledger import LimitScope, ScopeKind
from services.router.domain.message import CELL
from services.router.store import results

OF_SOURCE = (ScopeKind.WARMUP, ScopeKind.EGRESS_SITE)
OF_ALL = ("set_limits", "assess_campaign")

# Until the end of the transaction, the pool does not move.
CELL_OF_SOURCE = """
SELECT pools.cell FROM router.egress_sources JOIN router.pools USING (pool_id)
WHERE egress_id = %s FOR SHARE OF pools
"""
CELL_OF_TENANT = """
SELECT pools.cell FROM router.tenant_pools JOIN router.pools USING (pool_id)
WHERE tenant_id = %s FOR SHARE OF pools, tenant_pools
"""


async def give(
    tx: Transaction, command: PolicyCommand, cell_of: CellOf = first_cell, *, scope: str = ""
) -> None:
    """cell_of: of a tenant that has not sent yet. scope: of an override that is removed."""
    kind = command.WhichOneof("command")
    entry = Results(commands=[command])
    if kind in OF_ALL:
        await results.append_to_all(tx, entry)
        return
    if kind == "warmup":
        cell = await cell_of_source(tx, command.warmup.egress_id)
    elif kind == "resume_tenant_id":
        cell = await cell_of_tenant(tx, command.resume_tenant_id, cell_of)
    else:
        cell = await cell_of_scope(tx, scope or command.set_override.scope, cell_of)
    await results.append(tx, entry, cell)


async def cell_of_scope(tx: Transaction, key: str, cell_of: CellOf) -> str:
    """Of the scopes that take overrides."""
    if (scope := LimitScope.of(key)) is None:
        return CELL
    first_id = scope.id.partition("/")[0]
    if scope.kind in OF_SOURCE:
        return await cell_of_source(tx, first_id)
    return await cell_of_tenant(tx, first_id, cell_of)


async def cell_of_source(tx: Transaction, egress_id: str) -> str:
    rows = await tx.rows(CELL_OF_SOURCE, (egress_id,)) if is_uuid(egress_id) else []
    return str(rows[0][0]) if rows else CELL


async def cell_of_tenant(tx: Transaction, tenant_id: str, cell_of: CellOf) -> str:
    rows = await tx.rows(CELL_OF_TENANT, (tenant_id,)) if is_uuid(tenant_id) else []
    return str(rows[0][0]) if rows else cell_of(tenant_id)


def is_uuid(text: str) -> bool:
    try:
        UUID(text)
    except ValueError:
        return False
    return True
