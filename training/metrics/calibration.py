"""Calibration of probabilities: reliability diagram and expected calibration error (ECE).

Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2 (arXiv:1706.04599).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 15
"""Number of equal confidence bins, as in the paper."""


def calibrate(
    confidence: NDArray[np.floating], correct: NDArray[np.bool_], *, bins: int = BINS
) -> dict[str, Any]:
    """Compare the confidence of predictions with their accuracy.

    Args:
        confidence: probability of each prediction, above 0 up to 1.
        correct: whether the prediction is right.
        bins: number of equal confidence bins.

    Returns:
        The number of `words`, their mean `accuracy` and `confidence`, `ece` (the mean absolute
        difference of the two in a bin, weighted by words), and the non-empty `bins`: `above` and
        `to` are their limits, with `words`, `accuracy` and `confidence`.

    Raises:
        ValueError: the arrays are empty or differ in shape.
    """
    if confidence.shape != correct.shape or confidence.ndim != 1 or not len(confidence):
        raise ValueError("confidence and correct must have the same length, at least 1")
    sure, right = confidence.astype(np.float64), correct.astype(np.float64)
    place = np.clip(np.ceil(sure * bins).astype(int) - 1, 0, bins - 1)
    words = np.bincount(place, minlength=bins)
    sures = np.bincount(place, weights=sure, minlength=bins)
    rights = np.bincount(place, weights=right, minlength=bins)
    return {
        "words": len(sure),
        "accuracy": float(right.mean()),
        "confidence": float(sure.mean()),
        "ece": float(np.abs(sures - rights).sum() / len(sure)),
        "bins": [
            {
                "above": b / bins,
                "to": (b + 1) / bins,
                "words": int(words[b]),
                "accuracy": float(rights[b] / words[b]),
                "confidence": float(sures[b] / words[b]),
            }
            for b in np.flatnonzero(words).tolist()
        ],
    }
