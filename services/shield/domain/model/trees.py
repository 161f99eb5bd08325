"""Stage 2: boosted trees as arrays. All splits of all trees are compared at once.

Each split whose number is above its threshold rules out the leaves below its first child; the first
leaf that is left is that of the message (QuickScorer, Lucchese et al. 2015).
"""

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Floats: TypeAlias = npt.NDArray[np.float64]
Indices: TypeAlias = npt.NDArray[np.integer]

LEAVES = 16  # of a tree at most: a bit for each of them
FIRST_LEFT = np.array([(~out & out + 1).bit_length() - 1 for out in range((1 << LEAVES) - 1)])


@dataclass(frozen=True, slots=True, eq=False)
class BoostedTrees:
    """A column for each tree, with a row for each of its splits; value has a row for each tree.
    What a tree lacks is zero, and rules nothing out."""

    number: npt.NDArray[np.int16]  # which number a split looks at
    threshold: Floats  # up to it to the first child, above it to the second
    first_child: npt.NDArray[np.uint16]  # the leaves below it, as bits
    value: Floats  # of leaves, from the first child on

    def sum_for(self, row: Floats) -> float:
        """The sum of the leaves for one message's numbers."""
        above = row.take(self.number) > self.threshold
        return float(self.values_of(above, slice(None)).sum())

    def values_for(self, rows: Floats, row_of: Indices, which: Indices) -> Floats:
        """The leaf of each of these trees for the row at the same place of row_of."""
        above = rows[row_of, self.number[:, which]] > self.threshold[:, which]
        return self.values_of(above, which)

    def values_of(self, above: npt.NDArray[np.bool_], which: Indices | slice) -> Floats:
        out = np.bitwise_or.reduce(above * self.first_child[:, which], axis=0)
        trees = np.arange(len(self.value))[which]
        leaves: Floats = self.value.take(trees * LEAVES + FIRST_LEFT.take(out))
        return leaves

    def sums_for(self, rows: Floats) -> Floats:
        """The sums of the leaves for many messages."""
        return np.array([self.sum_for(each) for each in rows])

    def lookers(self, count: int) -> tuple[Indices, ...]:
        """For each of so many numbers, the trees that look at it."""
        looks = [(self.number == at) & (self.first_child > 0) for at in range(count)]
        return tuple(np.flatnonzero(each.any(axis=0)) for each in looks)
