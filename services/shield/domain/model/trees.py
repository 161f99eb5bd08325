"""Stage 2: boosted trees as arrays. All trees take a step at once, so that the depth of the deepest
decides the time."""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Nodes: TypeAlias = npt.NDArray[np.integer]


@dataclass(frozen=True, slots=True, eq=False)
class Trees:
    """Nodes of all trees in one row; a leaf leads to itself."""

    roots: npt.NDArray[np.int32]  # one per tree
    number: npt.NDArray[np.int16]  # which number a node looks at
    threshold: Floats  # up to it to the first child, above it to the second
    children: npt.NDArray[np.int32]  # two per node
    value: Floats  # of leaves; 0 elsewhere
    depth: int

    def sum_for(self, row: Floats) -> float:
        """The sum of the leaves for one message's numbers."""
        return float(self.value[self.leaves(row, self.roots)].sum())

    def leaves(self, rows: Floats, node: Nodes, row_of: Nodes | None = None) -> Nodes:
        """The leaf below each of these roots. row_of: the row that each of them looks at."""
        start = 0 if row_of is None else row_of * rows.shape[-1]
        rows = rows.ravel()
        for _ in range(self.depth):
            above = rows[start + self.number[node]] > self.threshold[node]
            node = self.children[2 * node + above]
        return node

    def sums_for(self, rows: Floats) -> Floats:
        """The sums of the leaves for many messages."""
        return np.array([self.sum_for(each) for each in rows])

    def lookers(self, count: int) -> tuple[Nodes, ...]:
        """For each of so many numbers, the trees that look at it."""
        tree = np.searchsorted(self.roots, np.arange(len(self.number)), side="right") - 1
        inner = self.children[::2] != np.arange(len(self.number))
        return tuple(np.unique(tree[inner & (self.number == at)]) for at in range(count))
