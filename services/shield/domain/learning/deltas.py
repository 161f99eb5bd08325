"""What outcomes add to the margin of a message: a table of differences over hashed entries.

Tenants are spread over columns, which learn apart and vote: each by steps of AdaGrad (Duchi et al.
2011), one for each campaign, as if all others were of its opinion. A vote is clipped to a range of
one point, so no tenant moves the score of another one by more, whatever it sends. Integers in units
of 2^-16, so that a replay gives the same.
"""

from math import exp
from typing import NamedTuple, TypeAlias
from zlib import crc32

import numpy as np
import numpy.typing as npt

from services.shield.domain.learning.entries import SIZE, Learned

COLUMNS = 32
UNIT = 1 << 16
PUBLISHED_UNIT = 1 << 5  # of versions: an octet for each entry and column
ENTRY_MAX = 127 * UNIT // PUBLISHED_UNIT
RATE = 8.0
EVIDENCE_MAX = 3.0
ERRORS_MAX = 1 << 30
DECAY, DECAY_CAMPAIGNS = 0.995, 6  # of a column: 200 of all
# In points: a vote, and all of them together. Good mail lowers a score by less than two. With what
# a cut point moves, a vote makes a difference of one.
VOTE_LOW, VOTE_HIGH, ALL_LOW = -0.2, 0.6, -1.9
ALL_HIGH = 6.0  # log odds

Table: TypeAlias = npt.NDArray[np.signedinteger]


class DeltaBounds(NamedTuple):
    """The same in units, but for the sums, which are log odds."""

    vote_low: int
    vote_high: int
    all_low: float
    all_high: float = ALL_HIGH

    @classmethod
    def of(cls, points_per_margin: float) -> "DeltaBounds":
        low, high = (round(UNIT * each / points_per_margin) for each in (VOTE_LOW, VOTE_HIGH))
        return cls(low, high, ALL_LOW / points_per_margin)


def shift_of(table: Table, entries: Learned, bounds: DeltaBounds, *, unit: int = UNIT) -> float:
    """What a table, in these units, adds to the margin of a message."""
    if not len(entries):
        return 0.0
    added = float(votes_of(table[entries], bounds, unit).sum()) / UNIT
    return max(bounds.all_low, min(bounds.all_high, added))


def votes_of(rows: Table, bounds: DeltaBounds, unit: int) -> Table:
    """What each column adds, in units of 2^-16. rows: of the entries of a message."""
    sums = rows.sum(axis=0, dtype=np.int64)
    votes = np.rint(sums * (UNIT / unit / len(rows) ** 0.5)).astype(np.int64)
    clipped: Table = np.clip(votes, bounds.vote_low, bounds.vote_high)
    return clipped


def column_of(tenant_id: str) -> int:
    return crc32(tenant_id.encode()) % COLUMNS


class WeightDeltas:
    """table: in units, a row for each entry. errors: the sum of the squared errors of steps, at
    least one unit, alike. taught: the number of steps of each column."""

    def __init__(self, bounds: DeltaBounds) -> None:
        self.bounds = bounds
        self.table = np.zeros((SIZE, COLUMNS), np.int32)
        self.errors = np.full((SIZE, COLUMNS), UNIT, np.int32)
        self.taught = np.zeros(COLUMNS, np.int64)

    def shift(self, entries: Learned) -> float:
        return shift_of(self.table, entries, self.bounds)

    def train(
        self, entries: Learned, *, tenant_id: str, margin: float, evidence: float, weight: float
    ) -> bool:
        """Step towards the evidence; False if the column of the tenant is there already.

        margin: without what was learned. evidence: log odds of abuse.
        """
        if not len(entries):
            return False
        aim = max(-EVIDENCE_MAX, min(EVIDENCE_MAX, evidence))
        at = entries, (column := column_of(tenant_id))
        [vote] = votes_of(self.table[at][:, None], self.bounds, UNIT)
        now = margin + COLUMNS * float(vote) / UNIT
        if now >= aim if aim > 0 else now <= aim:
            return False
        wanted = probability(aim)
        error = round(UNIT * (probability(now) - wanted))
        self.errors[at] = np.minimum(self.errors[at] + error * error // UNIT, ERRORS_MAX)
        size = RATE * weight * abs(2 * wanted - 1) * error / len(entries) ** 0.5
        steps = np.rint(size / np.sqrt(self.errors[at] / UNIT)).astype(np.int32)
        self.table[at] = np.clip(self.table[at] - steps, -ENTRY_MAX, ENTRY_MAX)
        self.taught[column] += 1
        if self.taught[column] % DECAY_CAMPAIGNS == 0:
            self.decay(column)
        return True

    def decay(self, column: int) -> None:
        """Its old lessons count less, and new ones more."""
        self.table[:, column] = np.rint(self.table[:, column] * DECAY)
        self.errors[:, column] = np.maximum(np.rint(self.errors[:, column] * DECAY), UNIT)


def probability(log_odds: float) -> float:
    return 1 / (1 + exp(-max(-30.0, min(30.0, log_odds))))
