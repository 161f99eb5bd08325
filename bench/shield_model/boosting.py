"""Stage 2's trees, trained by LightGBM and laid out as arrays."""

from collections.abc import Iterator, Sequence
from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt

from services.shield.domain.model.trees import LEAVES, BoostedTrees

Floats = npt.NDArray[np.float64]

ROUNDS = 160
SETTINGS: dict[str, Any] = {
    "objective": "binary",
    "num_leaves": LEAVES,
    "max_depth": 10,
    "learning_rate": 0.08,
    "feature_fraction": 0.4,
    "bagging_fraction": 0.7,
    "bagging_freq": 1,
    "min_data_in_leaf": 60,
    "lambda_l2": 20.0,
    "verbosity": -1,
    "deterministic": True,
    "force_row_wise": True,
    "num_threads": 1,
}


def fit_trees(
    numbers: Floats, bad: npt.NDArray[np.bool_], weight: Floats, *, seed: int
) -> BoostedTrees:
    data = lightgbm.Dataset(numbers, label=bad.astype(np.float64), weight=weight)
    booster = lightgbm.train({**SETTINGS, "seed": seed}, data, num_boost_round=ROUNDS)
    return to_arrays([each["tree_structure"] for each in booster.dump_model()["tree_info"]])


def to_arrays(trees: Sequence[dict[str, Any]]) -> BoostedTrees:
    """A column for each tree; see BoostedTrees."""
    number = np.zeros((LEAVES - 1, len(trees)), np.int16)
    threshold, first_child = np.zeros(number.shape), np.zeros(number.shape, np.uint16)
    value = np.zeros((len(trees), LEAVES))
    for column, root in enumerate(trees):
        leaves: list[float] = []
        for row, (node, start, end) in enumerate(splits(root, leaves)):
            number[row, column], threshold[row, column] = node["split_feature"], node["threshold"]
            first_child[row, column] = (1 << end) - (1 << start)
        value[column, : len(leaves)] = leaves
    return BoostedTrees(number, threshold, first_child, value)


def splits(node: dict[str, Any], leaves: list[float]) -> Iterator[tuple[dict[str, Any], int, int]]:
    """Each split with the range of the leaves below its first child. leaves: grows."""
    if "leaf_value" in node:
        leaves.append(node["leaf_value"])
        return
    start = len(leaves)
    yield from splits(node["left_child"], leaves)
    yield node, start, len(leaves)
    yield from splits(node["right_child"], leaves)
