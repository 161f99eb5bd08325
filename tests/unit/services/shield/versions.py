"""Versions of what was learned, for tests of what screens with them."""

import numpy as np

from services.shield.domain.learning.deltas import COLUMNS, PUBLISHED_UNIT
from services.shield.domain.learning.entries import SIZE
from services.shield.domain.learning.versions import LearnedVersion
from tests.unit.services.shield.samples import scorer


def version_that_adds(weight: float, name: str = "0") -> LearnedVersion:
    """Each entry speaks for abuse, in the opinion of all tenants; negative: for good mail."""
    model = scorer().model
    table = np.full((SIZE, COLUMNS), round(weight * PUBLISHED_UNIT), np.int8)
    version = f"{model.version}+{name}"
    return LearnedVersion(version, table, model.hold, model.points_per_margin)
