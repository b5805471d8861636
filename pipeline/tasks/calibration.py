"""Whether a probability of 0.9 is right nine times of ten, and the temperature that mends it."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

NUM_BINS = 15  # of equal width, as in Guo et al.
TEMPERATURES = (0.05, 20.0)  # smallest and largest
SIGNIFICANT = 3.841459  # 95 % quantile of chi-square with one degree of freedom


def fit_temperature(total_loss: Callable[[float], float], num_wrong: int) -> float:
    """The temperature by which logits are divided, of least loss (Guo et al. 2017, temperature scaling).

    1 where the examples do not tell: none of them is wrong, so that the smallest temperature would be the best, or the
    loss falls by no more than chance explains (a likelihood ratio test, Wilks 1938).

    Args:
        total_loss: temperature -> the loss summed over the validation examples, in nats.
        num_wrong: how many of the decisions are wrong.
    """
    from scipy.optimize import minimize_scalar

    if not num_wrong:
        return 1.0
    bounds = tuple(map(math.log, TEMPERATURES))
    found = minimize_scalar(lambda log: total_loss(math.exp(log)), bounds=bounds, method="bounded")
    is_better = 2 * (total_loss(1.0) - found.fun) > SIGNIFICANT  # not if the loss is NaN
    return round(math.exp(found.x), 4) if is_better else 1.0


def describe_calibration(
    uncalibrated: np.ndarray, calibrated: np.ndarray, hits: np.ndarray, temperature: float
) -> dict[str, Any]:
    """`ece` and `ece_uncalibrated`, the `temperature` between them, and the `bins` of a reliability diagram.

    The expected calibration error is the mean difference between probability and frequency over bins of equal width,
    weighted by their counts (Naeini et al. 2015; Guo et al. 2017). 0 is best.

    Args:
        uncalibrated, calibrated: probabilities at temperature 1 and at `temperature`, [decisions].
        hits: whether each decision was right, [decisions].
    """
    bins = reliability(calibrated, hits)
    return {
        "ece": expected_calibration_error(bins),
        "ece_uncalibrated": expected_calibration_error(reliability(uncalibrated, hits)),
        "temperature": temperature,
        "bins": bins,
    }


def reliability(probabilities: np.ndarray, hits: np.ndarray) -> list[dict[str, Any]]:
    """By bin, empty ones left out: `from`, `to`, `count`, the mean `probability`, and the `frequency` of hits.

    Args:
        probabilities: [decisions], 0 to 1; NaN is left out. A bin includes its lower edge; the last one 1 as well.
        hits: whether each decision was right, [decisions].
    """
    import numpy as np

    is_number = np.isfinite(probabilities)  # not so where the training has diverged
    probabilities, hits = probabilities[is_number], hits[is_number]
    bins = np.minimum((probabilities * NUM_BINS).astype(np.int64), NUM_BINS - 1)
    counts = np.bincount(bins, minlength=NUM_BINS)
    sums = (np.bincount(bins, weights=values, minlength=NUM_BINS) for values in (probabilities, hits))
    means = np.stack([total / np.maximum(counts, 1) for total in sums], axis=-1)
    return [
        {
            "from": round(index / NUM_BINS, 6),
            "to": round((index + 1) / NUM_BINS, 6),
            "count": int(counts[index]),
            "probability": round(float(means[index, 0]), 6),
            "frequency": round(float(means[index, 1]), 6),
        }
        for index in np.flatnonzero(counts)
    ]


def expected_calibration_error(bins: list[dict[str, Any]]) -> float:
    """Of the bins of `reliability`."""
    total = sum(each["count"] for each in bins)
    if not total:
        return math.nan
    error = sum(each["count"] * abs(each["probability"] - each["frequency"]) for each in bins) / total
    return round(error, 6)
