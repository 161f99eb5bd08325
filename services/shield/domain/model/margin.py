"""Both stages: from the features of a message to its margin, the log odds that it is abuse, and to
its points."""

from collections.abc import Container, Sequence
from dataclasses import dataclass
from functools import cache
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from contracts.ingest.v1.content_pb2 import Content
from services.shield.domain.features import Limits, MessageFeatures, extract_features
from services.shield.domain.model.structure import numbers_of
from services.shield.domain.model.text import (
    CHARACTER_BITS,
    PLACE_BITS,
    WORD_BITS,
    Entries,
    text_entries,
    weighted_sum,
)
from services.shield.domain.model.trees import Nodes, Trees

SIZES = (1 << WORD_BITS, 1 << CHARACTER_BITS, 1 << PLACE_BITS)  # of the tables
HOLD_POINTS, BLOCK_POINTS = 5.0, 10.0
POINTS_MAX = 20.0
Floats: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Model:
    """The arrays of a model file.

    version: of its training and of its bytes. rules: those that it looks at, in order.
    numbers: the names of the other numbers, in order. usual: each number in ordinary good mail.
    hold, block: the margins that give HOLD_POINTS and BLOCK_POINTS.
    """

    version: str
    tables: tuple[npt.NDArray[np.int8], ...]
    scales: tuple[float, ...]
    bias: float
    trees: Trees
    numbers: tuple[str, ...]
    rules: tuple[str, ...]
    usual: Floats
    hold: float
    block: float
    lookers: tuple[Nodes, ...]  # of each number and of stage 1's score: the trees that look at it

    @property
    def points_per_margin(self) -> float:
        return (BLOCK_POINTS - HOLD_POINTS) / (self.block - self.hold)

    def text_score(self, entries: Entries) -> float:
        """Stage 1."""
        return self.bias + weighted_sum(self.tables, self.scales, entries)

    def points(self, margin: float) -> float:
        scaled = HOLD_POINTS + (margin - self.hold) * self.points_per_margin
        return round(min(POINTS_MAX, scaled), 3)


class Inputs(NamedTuple):
    """What the model sees of a message. numbers: those of stage 2, except for stage 1's score."""

    entries: Entries
    numbers: Floats


class Weighed(NamedTuple):
    """row: the numbers of stage 2, with stage 1's score as the last."""

    features: MessageFeatures
    entries: Entries
    row: Floats
    margin: float


def inputs_of(features: MessageFeatures, matched: Container[str], rules: Sequence[str]) -> Inputs:
    numbers = [*numbers_of(features).values(), *(float(each in matched) for each in rules)]
    return Inputs(text_entries(features), np.array(numbers, np.float64))


def weigh(model: Model, features: MessageFeatures, matched: Container[str]) -> Weighed:
    entries, numbers = inputs_of(features, matched, model.rules)
    row = np.append(numbers, model.text_score(entries))
    return Weighed(features, entries, row, model.trees.sum_for(row))


@cache
def number_names() -> tuple[str, ...]:
    """The names of the numbers that this code computes, in order."""
    return tuple(numbers_of(extract_features(Content(), Limits())))
