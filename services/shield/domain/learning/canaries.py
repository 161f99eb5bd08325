"""Labelled mail in the model file: what was learned must not make the model worse on it.

Neither the model nor learning has seen it. It is kept as hashed entries, so nobody can read it.
"""

from collections.abc import Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from services.shield.domain.learning.entries import Learned, pack_learned, unpack_entries
from services.shield.domain.model.file import ModelError, read_arrays

Floats: TypeAlias = npt.NDArray[np.float64]
ENTRIES, SIZES, MARGINS, BAD = "canary_entries", "canary_sizes", "canary_margins", "canary_bad"


class CanaryMessages(NamedTuple):
    """Of each message its entries, its margin by the model, and whether it is abuse."""

    entries: Sequence[Learned]
    margins: Floats
    bad: npt.NDArray[np.bool_]


def canary_arrays(canaries: CanaryMessages) -> dict[str, Any]:
    """For the model file."""
    packed = [pack_learned(each) for each in canaries.entries]
    return {
        ENTRIES: np.frombuffer(b"".join(packed), np.uint8),
        SIZES: np.array([len(each) for each in packed]),
        MARGINS: canaries.margins,
        BAD: canaries.bad,
    }


def read_canaries(packed: bytes) -> CanaryMessages:
    """packed: a model file. Raises ModelError, also if it has no canaries of both classes."""
    found = read_arrays(packed)
    if BAD not in found or len(set(found[BAD].tolist())) != 2:
        raise ModelError("without canaries: nothing can be learned from outcomes; train it again")
    ends = np.cumsum(found[SIZES])[:-1]
    entries = [unpack_entries(each.tobytes()) for each in np.split(found[ENTRIES], ends)]
    return CanaryMessages(entries, found[MARGINS], found[BAD])
