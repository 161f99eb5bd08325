"""Both stages, and the cut points, from vectors to a model."""

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from bench.shield_model.boosting import fit_trees
from bench.shield_model.linear import TextWeights, fit_text, text_scores
from bench.shield_model.vectors import FOLDS, Vectors
from services.shield.domain.model.margin import TrainedModel, number_names

Floats = npt.NDArray[np.float64]

# Kinds of good mail that the cut points rest on: each in turn is left out of training, because mail
# of a corpus that the model has seen scores lower than any customer's.
LEFT_OUT = ("spamassassin", "assembled", "inbox")
MODERN_KINDS = ("assembled", "inbox", "made")
HOLD_SHARE, BLOCK_SHARE = 0.02, 0.002  # of such mail that may reach the margin
BLOCK_ABOVE_HOLD = 2.0  # at least: odds of 7 to 1


def train(data: Vectors, *, name: str, rules: tuple[str, ...], seed: int) -> TrainedModel:
    """The model of all examples, with cut points."""
    model = fit(data, name=name, rules=rules, seed=seed)
    hold, block = cut_points(data, model, seed=seed)
    return replace(model, hold=hold, block=block)


def fit(data: Vectors, *, name: str, rules: tuple[str, ...], seed: int) -> TrainedModel:
    """The trees see a score of the text that none of its copies has trained."""
    unseen = np.zeros(len(data.bad))
    for fold in range(FOLDS):
        chosen = data.fold == fold
        unseen[chosen] = text_scores(fit_text(data.rows(~chosen)), data.text[chosen])
    weights = fit_text(data)
    rows = np.column_stack([data.numbers, unseen])
    trees = fit_trees(rows, data.bad, data.weight, seed=seed)
    return TrainedModel(
        version=name,
        tables=weights.tables,
        scales=weights.scales,
        bias=weights.bias,
        trees=trees,
        numbers=number_names(),
        rules=rules,
        usual=usual_numbers(data),
        hold=0.0,
        block=1.0,
        lookers=trees.lookers(rows.shape[1]),
    )


def usual_numbers(data: Vectors) -> Floats:
    """Of good mail as customers send it, or of any if there is none."""
    good, modern = ~data.bad & ~data.copy, np.isin(data.kind, MODERN_KINDS)
    numbers: Floats = data.numbers[good & modern if (good & modern).any() else good]
    return np.median(numbers, axis=0)


def margins(model: TrainedModel, data: Vectors) -> Floats:
    text = text_scores(TextWeights(model.tables, model.scales, model.bias), data.text)
    return model.trees.sums_for(np.column_stack([data.numbers, text]))


def cut_points(data: Vectors, model: TrainedModel, *, seed: int) -> tuple[float, float]:
    """The margins of hold and block: the largest over the kinds left out."""
    holds, blocks = [], []
    for kind in LEFT_OUT:
        if not (good := (data.kind == kind) & ~data.bad & ~data.copy).any():
            continue
        rest = fit(data.rows(data.kind != kind), name="", rules=model.rules, seed=seed)
        found = margins(rest, data.rows(good))
        holds.append(float(np.quantile(found, 1 - HOLD_SHARE)))
        blocks.append(float(np.quantile(found, 1 - BLOCK_SHARE)))
        print(f"without {kind:14} hold {holds[-1]:5.2f}  block {blocks[-1]:5.2f}", flush=True)
    hold = max(holds, default=0.0)
    return hold, max([*blocks, hold + BLOCK_ABOVE_HOLD])
