"""How well a word's probability and attention detect a hallucination."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from captioner.result.caption import Word, entropy
from training.metrics.bootstrap import interval, resample_weights

SIGNALS = ("probability", "entropy", "mass", "peak")
"""Probability of the word, entropy of its attention, attention on the top tenth of the regions,
and on the top region.
"""
_TENTH = 0.1
_RISING = "entropy"
"""Higher for hallucinations; the other signals are lower."""


def signals_of(word: Word) -> list[float]:
    """Return the signals of a word, in the order of `SIGNALS`."""
    weights = np.sort(word.attention, axis=None)[::-1].astype(np.float64)
    tenth = math.ceil(_TENTH * weights.size)
    mass, peak = float(weights[:tenth].sum()), float(weights[0])
    return [word.probability, entropy(word.attention), mass, peak]


def measure_signals(
    values: Sequence[Sequence[float]],
    invented: Sequence[bool],
    photos: Sequence[int],
    *,
    resamples: int,
    seed: int,
) -> dict[str, Any]:
    """Return how well each signal separates hallucinated objects from others.

    Args:
        values: signals of every named object.
        invented: whether it is hallucinated.
        photos: index of its photo; intervals are over photos.
        resamples: bootstrap resamples; 0 omits intervals.
        seed: seed of the resampling.

    Returns:
        By signal, the `auc` with its `interval`: the probability that a hallucination has the lower
        value (for entropy, the higher), 0.5 by chance. Empty if all objects are of one class.
    """
    wrong = np.asarray(invented, dtype=bool)
    if wrong.all() or not wrong.any():
        return {}
    table, rows = np.asarray(values, dtype=np.float64), np.asarray(photos)
    report: dict[str, Any] = {}
    for name, column in zip(SIGNALS, table.T, strict=True):
        scores = column if name == _RISING else -column
        report[name] = {"auc": auc(scores, wrong)}
        if resamples:
            areas = (
                auc(scores, wrong, weights[rows])
                for weights in resample_weights(int(rows.max()) + 1, resamples, seed)
            )
            draws = [area for area in areas if not math.isnan(area)]
            report[name]["interval"] = interval(
                np.array([own for own in draws if not math.isnan(own)])
            )
    return report


def auc(
    scores: NDArray[np.float64],
    positive: NDArray[np.bool_],
    times: NDArray[np.int64] | None = None,
) -> float:
    """Return the area under the ROC curve; ties count half. NaN if a class is empty.

    Args:
        scores: (N,), higher for positives.
        positive: (N,).
        times: (N,), weight of each score; 1 by default.
    """
    weights = np.ones(len(scores)) if times is None else times.astype(np.float64)
    _, place = np.unique(scores, return_inverse=True)
    good = np.bincount(place, weights * positive)
    bad = np.bincount(place, weights * ~positive)
    pairs = good.sum() * bad.sum()
    below = np.cumsum(bad) - bad
    return float((good * (below + bad / 2)).sum() / pairs) if pairs else math.nan
