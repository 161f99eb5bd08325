"""Stage 2's trees, trained by LightGBM and laid out as arrays."""

from collections.abc import Iterator
from typing import Any

import lightgbm
import numpy as np
import numpy.typing as npt

from services.shield.domain.model.trees import Trees

Floats = npt.NDArray[np.float64]

ROUNDS = 160
SETTINGS: dict[str, Any] = {
    "objective": "binary",
    "num_leaves": 16,
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


def fit_trees(numbers: Floats, bad: npt.NDArray[np.bool_], weight: Floats, *, seed: int) -> Trees:
    data = lightgbm.Dataset(numbers, label=bad.astype(np.float64), weight=weight)
    booster = lightgbm.train({**SETTINGS, "seed": seed}, data, num_boost_round=ROUNDS)
    return to_arrays(each["tree_structure"] for each in booster.dump_model()["tree_info"])


def to_arrays(roots: Iterator[dict[str, Any]]) -> Trees:
    """Number the nodes of all trees; a leaf is its own child."""
    rows: list[list[float]] = []  # number, threshold, first child, second child, value
    depth = 0

    def add(node: dict[str, Any], level: int) -> int:
        nonlocal depth
        depth, at = max(depth, level), len(rows)
        if "leaf_value" in node:
            rows.append([0, 0, at, at, node["leaf_value"]])
            return at
        rows.append([node["split_feature"], node["threshold"], 0, 0, 0])
        rows[at][2:4] = add(node["left_child"], level + 1), add(node["right_child"], level + 1)
        return at

    starts = [add(each, 0) for each in roots]
    table = np.array(rows)
    return Trees(
        roots=np.array(starts, np.int32),
        number=table[:, 0].astype(np.int16),
        threshold=table[:, 1].copy(),
        children=table[:, 2:4].astype(np.int32).ravel(),
        value=table[:, 4].copy(),
        depth=depth,
    )
