"""Versions of what was learned: how a message is scored with one, and when one may be published."""

from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO
from typing import Any, NamedTuple

import numpy as np

from services.shield.domain.learning.canaries import CanaryMessages, Floats
from services.shield.domain.learning.deltas import (
    COLUMNS,
    PUBLISHED_UNIT,
    UNIT,
    DeltaBounds,
    Table,
    WeightDeltas,
    shift_of,
)
from services.shield.domain.learning.entries import SIZE, Learned
from services.shield.domain.model.margin import BLOCK_POINTS, HOLD_POINTS, POINTS_MAX, TrainedModel

MAGIC = b"shield learned 1\n"
VERSION_CHARS = 8
CUT_QUANTILE = 0.98  # of the good canaries, which include the worst ones
CUT_POINTS_MAX = 0.1  # that a cut point moves
AUC_LOST_MAX, FPR_GAINED_MAX = 0.002, 0.005


class LearnedVersionError(ValueError):
    """The bytes are no version of what was learned, or one for another model."""


@dataclass(frozen=True, slots=True, eq=False)
class LearnedVersion:
    """version: of the model and of what was learned since. table: in PUBLISHED_UNITs. hold: the
    margin of HOLD_POINTS; the points of a margin unit are those of the model."""

    version: str
    table: Table
    hold: float
    points_per_margin: float

    def points(self, margin: float, entries: Learned) -> float:
        """As TrainedModel.points. margin: of the model."""
        bounds = DeltaBounds.of(self.points_per_margin)
        shifted = margin + shift_of(self.table, entries, bounds, unit=PUBLISHED_UNIT)
        scaled = HOLD_POINTS + (shifted - self.hold) * self.points_per_margin
        return round(min(POINTS_MAX, scaled), 3)

    @property
    def block(self) -> float:
        return self.hold + (BLOCK_POINTS - HOLD_POINTS) / self.points_per_margin


class CanaryAccuracy(NamedTuple):
    """Figures of a version on the canaries."""

    auc: float
    fpr: float


@dataclass(frozen=True, slots=True, eq=False)
class CanaryCheck:
    """What learning starts from: the model, and the mail on which it must not become worse."""

    model: str
    hold: float
    points_per_margin: float
    canaries: CanaryMessages

    @classmethod
    def of(cls, model: TrainedModel, canaries: CanaryMessages) -> "CanaryCheck":
        """canaries: of the same model file."""
        return cls(model.version, model.hold, model.points_per_margin, canaries)

    def cut(self, margins: Floats) -> float:
        """The margin of HOLD_POINTS for a version that gives the canaries these margins: as much of
        the good mail is above it as before."""
        good = ~self.canaries.bad
        before = np.quantile(self.canaries.margins[good], CUT_QUANTILE)
        moved = float(np.quantile(margins[good], CUT_QUANTILE) - before)
        most = CUT_POINTS_MAX / self.points_per_margin
        return self.hold + max(-most, min(most, moved))

    def check(self, margins: Floats, hold: float) -> CanaryAccuracy:
        bad, good = margins[self.canaries.bad], np.sort(margins[~self.canaries.bad])
        below = np.searchsorted(good, bad, "left") + np.searchsorted(good, bad, "right")
        return CanaryAccuracy(float(below.mean()) / 2 / len(good), float(np.mean(good >= hold)))

    def is_as_good(self, found: CanaryAccuracy) -> bool:
        before = self.check(self.canaries.margins, self.hold)
        worse = before.auc - found.auc > AUC_LOST_MAX
        return not worse and found.fpr - before.fpr <= FPR_GAINED_MAX


def propose(baseline: CanaryCheck, deltas: WeightDeltas) -> tuple[LearnedVersion, CanaryAccuracy]:
    """The version of now, and how it does on the canaries."""
    table = np.zeros(deltas.table.shape, np.int8)
    taught = deltas.table.any(axis=1)  # few of all
    table[taught] = np.rint(deltas.table[taught] * (PUBLISHED_UNIT / UNIT))
    bounds = deltas.bounds
    canaries = baseline.canaries
    shifts = [shift_of(table, each, bounds, unit=PUBLISHED_UNIT) for each in canaries.entries]
    margins = canaries.margins + np.array(shifts)
    hold = baseline.cut(margins)
    digest = sha256(table.tobytes() + np.float64(hold).tobytes()).hexdigest()
    version = f"{baseline.model}+{digest[:VERSION_CHARS]}"
    proposed = LearnedVersion(version, table, hold, baseline.points_per_margin)
    return proposed, baseline.check(margins, hold)


def pack_version(version: LearnedVersion) -> bytes:
    packed = BytesIO()
    arrays: dict[str, Any] = {
        "version": np.array(version.version),
        "table": version.table,
        "scale": np.array([version.hold, version.points_per_margin]),
    }
    np.savez_compressed(packed, allow_pickle=False, **arrays)
    body = packed.getvalue()
    return MAGIC + sha256(body).digest() + body


def unpack_version(packed: bytes, model: str) -> LearnedVersion:
    """model: the version of the model that is in use. Raises LearnedVersionError."""
    start = len(MAGIC) + sha256().digest_size
    body = packed[start:]
    if not packed.startswith(MAGIC) or sha256(body).digest() != packed[len(MAGIC) : start]:
        raise LearnedVersionError("no version of what was learned, or a damaged one")
    with np.load(BytesIO(body), allow_pickle=False) as arrays:
        found = {name: arrays[name] for name in arrays.files}
    version, [hold, per_margin] = str(found["version"]), map(float, found["scale"])
    if version.rpartition("+")[0] != model or found["table"].shape != (SIZE, COLUMNS):
        raise LearnedVersionError(f"{version} was learned with another model")
    return LearnedVersion(version, found["table"], hold, per_margin)
