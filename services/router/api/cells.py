"""Cells, as operators add them."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from contracts.router.v1 import policy_service_pb2 as pb
from kernel.database import Database, Transaction
from services.router.api.pools import PoolConflict
from services.router.domain.cells import CELLS_MAX, DIVIDED, least_of
from services.router.domain.operator_limits import LimitsChanged
from services.router.store import cells

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


@dataclass(frozen=True, slots=True)
class CellAdmin:
    """Raises ValueError with the reason why a change does not apply."""

    database: Database

    async def list_all(self) -> list[pb.Cell]:
        async with self.database.transaction() as tx:
            return [pb.Cell(**one._asdict()) for one in await cells.read_all(tx)]

    async def add(self, tx: Transaction, name: str, limits: Sequence[LimitsChanged]) -> pb.Cell:
        """limits: those that operators have set."""
        if not NAME.fullmatch(name):
            raise ValueError(
                "A cell has a name of up to 40 lower-case letters, digits and hyphens,"
                " and no hyphen first."
            )
        names = await cells.read_names(tx)
        if name in names:
            raise PoolConflict(f"There is a cell {name} already.")
        count = len(names) + 1
        if count > CELLS_MAX:
            raise PoolConflict(f"There are {CELLS_MAX} cells already, which is the most.")
        for one in limits:
            check_divisible(one, count)
        if not await cells.add(tx, name):
            raise PoolConflict(f"There is a cell {name} already.")
        return pb.Cell(cell=name)


def check_divisible(change: LimitsChanged, count: int) -> None:
    """Raises PoolConflict if a limit of all cells is too small to be divided among so many."""
    least = least_of(change.limits)
    if change.scope.kind in DIVIDED and 0 < least < count:
        raise PoolConflict(
            f"a limit of {change.scope.key} is divided among {count} cells, so it must be at least"
            f" {count}, and not {least}."
        )
