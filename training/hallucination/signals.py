"""Whether a word's probability and attention tell that it names something invented."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from captioner.result.caption import Word, entropy
from training.metrics.bootstrap import draw_times, interval

SIGNALS = ("probability", "entropy", "mass", "peak")
"""What is known of a word: how likely it was, how evenly attention is spread, how much of it lies
on the heaviest tenth of the regions, and on the heaviest."""
_TENTH = 0.1
_RISING = "entropy"
"""Higher where a word is invented; the others are lower."""


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
    """Return how well each signal tells invented names from others.

    Args:
        values: signals of every name.
        invented: whether it is.
        photos: number of its photo; intervals are over photos.
        resamples: draws of photos; 0 leaves intervals out.
        seed: of the draws.

    Returns:
        By signal, `auc`, the probability that it is lower (entropy: higher) for an invented name
        than for another, 0.5 by chance, and `interval`. Empty if all names are of one sort.
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
                auc(scores, wrong, times[rows])
                for times in draw_times(int(rows.max()) + 1, resamples, seed)
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
    """Return the area under the ROC curve; equal scores count half. It is nan if a sort is missing.

    Args:
        scores: (N,), higher for positive ones.
        positive: (N,).
        times: (N,), how often each counts; once if not given.
    """
    weights = np.ones(len(scores)) if times is None else times.astype(np.float64)
    _, place = np.unique(scores, return_inverse=True)
    good = np.bincount(place, weights * positive)
    bad = np.bincount(place, weights * ~positive)
    pairs = good.sum() * bad.sum()
    below = np.cumsum(bad) - bad
    return float((good * (below + bad / 2)).sum() / pairs) if pairs else math.nan
