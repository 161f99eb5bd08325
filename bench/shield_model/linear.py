"""Stage 1's weights: logistic regression over entries scaled by naive Bayes' log ratios.

NB-SVM (Wang and Manning 2012) with the loss of logistic regression.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize
from scipy.sparse import csr_matrix, diags

from bench.shield_model.vectors import Vectors
from services.shield.domain.model.margin import SIZES

Floats = npt.NDArray[np.float64]
Quantised = npt.NDArray[np.int8]

SMOOTHING = 1.0
RATIO_MAX = 3.0
RIDGE = 5e-6  # per message
STEPS = 60
INT8_MAX = 127
LARGEST = 99.99  # percentile of the weights that int8 covers; those beyond it are clipped


@dataclass(frozen=True, slots=True)
class TextWeights:
    """The weights of each table, their scales and the bias."""

    tables: tuple[Quantised, ...]
    scales: tuple[float, ...]
    bias: float


def fit_text(data: Vectors) -> TextWeights:
    ratios = bayes_ratios(data)
    scaled = (normalised(data.text) @ diags(ratios.astype(np.float32))).tocsr()
    weights, bias = fit_logistic(scaled, data.bad, data.weight)
    parts = np.split(weights * ratios, np.cumsum(SIZES)[:-1])
    quantised = [quantise(each) for each in parts]
    return TextWeights(tuple(t for t, _ in quantised), tuple(s for _, s in quantised), bias)


def bayes_ratios(data: Vectors) -> Floats:
    """How much more often an entry is in bad mail, as half a clipped log ratio."""
    bad = SMOOTHING + data.text.T @ (data.weight * data.bad)
    good = SMOOTHING + data.text.T @ (data.weight * ~data.bad)
    ratio = np.log(bad / bad.sum()) - np.log(good / good.sum())
    clipped: Floats = np.clip(ratio, -RATIO_MAX, RATIO_MAX) / 2
    return clipped


def normalised(text: csr_matrix) -> csr_matrix:
    """Each block of a row divided by the root of the number of its entries."""
    result = text.copy()
    block = np.searchsorted(np.cumsum(SIZES), text.indices, side="right")
    row = np.repeat(np.arange(text.shape[0]), np.diff(text.indptr))
    key = row * len(SIZES) + block
    result.data = (1 / np.sqrt(np.bincount(key)[key])).astype(np.float32)
    return result


def fit_logistic(
    data: csr_matrix, bad: npt.NDArray[np.bool_], weight: Floats
) -> tuple[Floats, float]:
    """Stops early, which regularises too."""
    sign = np.where(bad, 1.0, -1.0).astype(np.float32)
    share = (weight / weight.sum()).astype(np.float32)
    transposed = data.T.tocsr()

    def loss(point: Floats) -> tuple[float, Floats]:
        weights, bias = point[:-1].astype(np.float32), point[-1]
        margin = sign * (data @ weights + np.float32(bias))
        value = float(share @ np.logaddexp(0, -margin)) + RIDGE / 2 * float(point[:-1] @ point[:-1])
        error = -share * sign / (1 + np.exp(np.clip(margin, -30, 30)))
        slope = np.append(transposed @ error + RIDGE * point[:-1], error.sum())
        return value, slope.astype(np.float64)

    start = np.zeros(data.shape[1] + 1)
    found = minimize(loss, start, jac=True, method="L-BFGS-B", options={"maxiter": STEPS})
    return found.x[:-1], float(found.x[-1])


def quantise(weights: Floats) -> tuple[Quantised, float]:
    used = np.abs(weights[weights != 0])
    scale = float(np.percentile(used, LARGEST)) / INT8_MAX if len(used) else 1.0
    steps = np.clip(np.rint(weights / scale), -INT8_MAX, INT8_MAX)
    return steps.astype(np.int8), scale


def text_scores(weights: TextWeights, text: csr_matrix) -> Floats:
    pairs = zip(weights.tables, weights.scales, strict=True)
    flat = np.concatenate([table * np.float32(scale) for table, scale in pairs])
    found: Floats = (normalised(text) @ flat + weights.bias).astype(np.float64)
    return found
