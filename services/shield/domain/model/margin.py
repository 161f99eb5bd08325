"""Both stages: from a parsed message to its margin, the log odds that it is abuse, and to
its points."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from typing import NamedTuple, TypeAlias

import numpy as np
import numpy.typing as npt

from contracts.ingest.v1.content_pb2 import Content
from services.shield.domain.model.structure import numbers_of
from services.shield.domain.model.text import (
    CHARACTER_BITS,
    PLACE_BITS,
    WORD_BITS,
    HashedFeatures,
    text_entries,
    weighted_sum,
)
from services.shield.domain.model.trees import BoostedTrees, Indices
from services.shield.domain.parsing import ParsedMessage, ParsingLimits, parse_message

SIZES = (1 << WORD_BITS, 1 << CHARACTER_BITS, 1 << PLACE_BITS)  # of the tables
HOLD_POINTS, BLOCK_POINTS = 5.0, 10.0
POINTS_MAX = 20.0
Floats: TypeAlias = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class TrainedModel:
    """The arrays of a model file.

    version: of its training and of its bytes. rules: those that it looks at, in order.
    numbers: the names of the other numbers, in order. usual: each number in ordinary good mail.
    hold, block: the margins that give HOLD_POINTS and BLOCK_POINTS.
    """

    version: str
    tables: tuple[npt.NDArray[np.int8], ...]
    scales: tuple[float, ...]
    bias: float
    trees: BoostedTrees
    numbers: tuple[str, ...]
    rules: tuple[str, ...]
    usual: Floats
    hold: float
    block: float
    lookers: tuple[Indices, ...]  # of each number and of stage 1's score: the trees that look at it

    @property
    def points_per_margin(self) -> float:
        return (BLOCK_POINTS - HOLD_POINTS) / (self.block - self.hold)

    def text_score(self, entries: HashedFeatures) -> float:
        """Stage 1."""
        return self.bias + weighted_sum(self.tables, self.scales, entries)

    def points(self, margin: float) -> float:
        scaled = HOLD_POINTS + (margin - self.hold) * self.points_per_margin
        return round(min(POINTS_MAX, scaled), 3)


class MessageFeatures(NamedTuple):
    """What the model sees of a message. numbers: those of stage 2, except for stage 1's score."""

    entries: HashedFeatures
    numbers: Floats


class MatchedMessage(NamedTuple):
    """rules: those that it matches, each with a detail."""

    message: ParsedMessage
    rules: Mapping[str, str]


class WeighedMessage(NamedTuple):
    """row: the numbers of stage 2, with stage 1's score as the last."""

    matched: MatchedMessage
    entries: HashedFeatures
    row: Floats
    margin: float

    @property
    def message(self) -> ParsedMessage:
        return self.matched.message


def inputs_of(messages: Sequence[MatchedMessage], rules: Sequence[str]) -> list[MessageFeatures]:
    """One after the other for all messages, because code and tables stay in the processor's caches:
    a message of a large batch takes three quarters of the time."""
    numbers = [values_of(each, rules) for each in messages]
    entries = [text_entries(each.message) for each in messages]
    return list(map(MessageFeatures, entries, numbers))


def values_of(matched: MatchedMessage, rules: Sequence[str]) -> Floats:
    numbers = numbers_of(matched.message)
    values = chain(numbers.values(), map(matched.rules.__contains__, rules))
    return np.fromiter(values, np.float64, len(numbers) + len(rules))


def weigh(model: TrainedModel, messages: Sequence[MatchedMessage]) -> list[WeighedMessage]:
    inputs = inputs_of(messages, model.rules)
    rows = [np.append(each.numbers, model.text_score(each.entries)) for each in inputs]
    return [
        WeighedMessage(matched, entries, row, model.trees.sum_for(row))
        for matched, (entries, _), row in zip(messages, inputs, rows, strict=True)
    ]


@cache
def number_names() -> tuple[str, ...]:
    """The names of the numbers that this code computes, in order."""
    return tuple(numbers_of(parse_message(Content(), ParsingLimits())))
