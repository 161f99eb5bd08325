"""Cells, which are sets of pools: which one serves a tenant, and its share of limits."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from services.router.domain.ledger import LimitScope, ScopeKind
from services.router.domain.limits import Limits
from services.router.domain.message import CELL

CellOf = Callable[[str], str]  # of a tenant
CELLS_MAX = 64
# Limits of all cells together, of which each has a share. The usage of all other scopes lies in one
# cell at a time, and its rows name none: they need not change when it moves.
DIVIDED = frozenset((ScopeKind.SITE, ScopeKind.ENGINE))
SHARED_FIELDS = ("per_second", "per_minute", "per_hour", "per_day", "in_flight_max")


def first_cell(_: str) -> str:
    """Of every tenant, while there is one cell."""
    return CELL


def label_of(scope: LimitScope | None, cell: str) -> str:
    """The cell that the rows of a scope name."""
    return cell if scope and scope.kind in DIVIDED else CELL


@dataclass(slots=True)
class CellDirectory:
    """Which cell serves a tenant, as far as this process knows: what is behind or ahead of the
    owners is put right by them.

    cells: by pool, of those that are not in the first one. names: of all cells. ehlo_names: of all
    egress sources, if there are several cells.
    """

    pool_of: Callable[[str], str]
    names: Sequence[str] = (CELL,)
    cells: Mapping[str, str] = field(default_factory=dict)
    ehlo_names: frozenset[str] = frozenset()

    def cell_of(self, tenant_id: str) -> str:
        return self.cells.get(self.pool_of(tenant_id), CELL) if self.cells else CELL


@dataclass(slots=True)
class CellShare:
    """The share of one of `count` cells in limits of all of them. The shares add up to the limit.

    revision: raised whenever the cell must be read again: it has got a pool, or other shares."""

    position: int = 0
    count: int = 1
    revision: int = 0

    def of(self, limit: int) -> int:
        each, rest = divmod(limit, self.count)
        return each + (self.position < rest)

    def of_limits(self, limits: Limits) -> Limits:
        if self.count == 1:
            return limits
        shares = {name: self.of(getattr(limits, name)) for name in SHARED_FIELDS}
        return limits._replace(**shares)  # type: ignore[arg-type]

    def has_none(self, limits: Limits) -> bool:
        """Whether a limit cannot be divided into as many shares, so that this cell has none."""
        return any(0 < getattr(limits, name) <= self.position for name in SHARED_FIELDS)


def least_of(limits: Limits) -> int:
    """The least limit that is set; 0: none is."""
    return min((one for name in SHARED_FIELDS if (one := getattr(limits, name))), default=0)
