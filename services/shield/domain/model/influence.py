"""What raised a score: the points that a message would lose without a word, a place or a trait.

Each number is replaced alone by the usual one, and the trees are asked again, so the parts need not
add up to the whole. Words and places are taken out together, because either hides the other, and
share what is lost by their weights.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from services.shield.domain.model.margin import Floats, TrainedModel, WeighedMessage
from services.shield.domain.model.text import NamedFeatures, named_places, named_words, weighted_sum

HEAVIEST = 5
WORDS, PLACES = "words", "places"
WORD_TABLE, CHARACTER_TABLE, PLACE_TABLE = 0, 1, 2


class InputInfluence(NamedTuple):
    """points: lost without it. detail: the words, or the value. above: whether the value is above
    the usual one."""

    name: str
    points: float
    detail: str = ""
    above: bool = True


def influences(model: TrainedModel, weighed: WeighedMessage) -> list[InputInfluence]:
    """The text, the places, and every number that is not the usual one."""
    numbers = np.flatnonzero(weighed.row[:-1] != model.usual)
    rows = np.repeat(weighed.row[None], len(numbers) + 1, axis=0)
    rows[np.arange(len(numbers)), numbers] = model.usual[numbers]
    spoken = against(model, weighed, WORD_TABLE, CHARACTER_TABLE)
    placed = against(model, weighed, PLACE_TABLE)
    rows[-1, -1] -= spoken + placed
    lost = lost_points(model, weighed, rows, changed=[*numbers.tolist(), len(model.usual)])
    share = spoken / ((spoken + placed) or 1.0)
    words, places = named_words(weighed.message), named_places(weighed.message)
    names = (*model.numbers, *model.rules)
    return [
        InputInfluence(WORDS, share * lost[-1], heaviest(model, words, table=WORD_TABLE)),
        InputInfluence(PLACES, (1 - share) * lost[-1], heaviest(model, places, table=PLACE_TABLE)),
        *(
            InputInfluence(names[at], float(points), f"{value:.3g}", bool(value > model.usual[at]))
            for at, points, value in zip(numbers, lost[:-1], weighed.row[numbers], strict=True)
        ),
    ]


def lost_points(
    model: TrainedModel, weighed: WeighedMessage, rows: Floats, *, changed: Sequence[int]
) -> Floats:
    """The points that each row has less. changed: its number that is another one. Only trees that
    look at it are asked."""
    trees = [model.lookers[at] for at in changed]
    which, row_of = np.concatenate(trees), np.repeat(np.arange(len(rows)), list(map(len, trees)))
    before = model.trees.values_for(weighed.row[None], np.zeros_like(which), which)
    lost = before - model.trees.values_for(rows, row_of, which)
    sums = np.bincount(row_of, lost, minlength=len(rows)).astype(np.float64)
    return sums * model.points_per_margin


def against(model: TrainedModel, weighed: WeighedMessage, *tables: int) -> float:
    """What the entries of these tables that weigh for abuse add to stage 1's score."""
    found = [model.tables[at][weighed.entries[at]] for at in tables]
    return weighted_sum(
        [np.maximum(each, 0) for each in found],
        [model.scales[at] for at in tables],
        [np.arange(len(each), dtype=np.uint32) for each in found],
    )


def heaviest(model: TrainedModel, named: NamedFeatures, *, table: int) -> str:
    """The entries with the largest weights for abuse."""
    names, buckets = named
    first = np.unique(buckets, return_index=True)[1]
    weights = model.tables[table][buckets[first]].astype(np.int16)
    order = np.argsort(-weights, kind="stable")[:HEAVIEST]
    return ", ".join(names[first[at]] for at in order if weights[at] > 0)
