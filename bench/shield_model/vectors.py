"""What the model sees of messages: entries of the hashed tables and numbers, in arrays."""

from collections.abc import Iterable
from dataclasses import dataclass
from zlib import crc32

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_matrix

from bench.shield_model.examples import Example
from services.shield.domain.matching import RuleMatcher
from services.shield.domain.model.margin import SIZES, MatchedMessage, inputs_of
from services.shield.domain.parsing import parse_message
from services.shield.domain.rulebook import Rulebook

FOLDS = 4
Floats = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Vectors:
    """A row per message. text: 1 where an entry occurs, the tables side by side. numbers: the input
    of the trees but for the text's score. fold: the same for copies of a message."""

    text: csr_matrix
    numbers: Floats
    bad: Bools
    weight: Floats
    fold: npt.NDArray[np.int64]
    kind: npt.NDArray[np.str_]
    copy: Bools

    def rows(self, chosen: Bools) -> "Vectors":
        return Vectors(*(getattr(self, name)[chosen] for name in self.__slots__))


def vectors_of(examples: Iterable[Example], book: Rulebook) -> Vectors:
    matcher, rules = RuleMatcher(book), [each.name for each in book.rules]
    starts = np.cumsum([0, *SIZES])
    columns: list[npt.NDArray[np.int32]] = []
    numbers, rows = [], []
    for each in examples:
        message = parse_message(each.content, book.limits)
        [inputs] = inputs_of([MatchedMessage(message, matcher.matched_rules(message))], rules)
        blocks = zip(inputs.entries, starts, strict=False)
        columns.append(np.concatenate([e.astype(np.int32) + start for e, start in blocks]))
        numbers.append(inputs.numbers)
        fold = crc32(each.group.encode()) % FOLDS
        rows.append((each.bad, each.weight, fold, each.kind, each.copy))
    ends = np.cumsum([0, *map(len, columns)])
    ones = np.ones(ends[-1], np.float32)
    bad, weight, fold_column, kind, copy = map(np.array, zip(*rows, strict=True))
    return Vectors(
        csr_matrix((ones, np.concatenate(columns), ends), shape=(len(rows), int(starts[-1]))),
        np.array(numbers),
        bad,
        weight,
        fold_column,
        kind,
        copy,
    )
