"""Whether a model is right as often as it is sure: reliability and expected calibration error.

Source: Guo et al. 2017, "On Calibration of Modern Neural Networks", section 2 (arXiv:1706.04599).
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

BINS = 15
"""Equal parts of the confidence from 0 to 1, as many as in the paper."""


def calibrate(
    confidence: NDArray[np.floating], correct: NDArray[np.bool_], *, bins: int = BINS
) -> dict[str, Any]:
    """Compare how sure guesses were with how often they were right.

    Args:
        confidence: probability of each guess, above 0 up to 1.
        correct: whether it was right.
        bins: how many equal parts of the confidence are compared.

    Returns:
        The number of `words`, their mean `accuracy` and `confidence`, `ece`: the mean distance of
        the two within a bin, weighted by words; and `bins`, those that hold words: from `above` up
        to `to`, with `words`, `accuracy` and `confidence`.

    Raises:
        ValueError: there is nothing to compare, or not as many of one as of the other.
    """
    if confidence.shape != correct.shape or confidence.ndim != 1 or not len(confidence):
        raise ValueError("confidence and correct must be of the same words, one at least")
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
