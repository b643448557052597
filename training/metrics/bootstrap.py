"""Confidence intervals of scores, by bootstrap over images.

Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13 (percentile
intervals). Images are resampled with replacement. BLEU is not a mean, so its counts are summed for
each resample. CIDEr keeps the document frequencies of the whole split.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
"""Confidence level of the intervals."""

Interval = dict[str, float]
"""Both ends, as `low` and `high`."""


class Ratio(NamedTuple):
    """A sum over images divided by another, such as errors per word."""

    part: Sequence[float]
    """Numerator of every image."""
    whole: Sequence[float]
    """Denominator of every image, in the same order."""

    @property
    def value(self) -> float:
        """The ratio over all images; 0 if the denominator is 0."""
        return sum(self.part) / sum(self.whole) if sum(self.whole) else 0.0


def mean_intervals(
    values: Mapping[str, Sequence[float]], *, resamples: int, seed: int
) -> dict[str, Interval]:
    """Return the interval of the mean of each measure.

    Args:
        values: one value per image, by name of the measure.
        resamples: number of bootstrap resamples, at least 1.
        seed: seed of the resampling; a seed draws the same images for every measure.
    """
    if not values:
        return {}
    table = np.array(list(values.values()), dtype=np.float64).T  # (images, names)
    means = np.stack([w @ table for w in resample_weights(len(table), resamples, seed)]) / len(
        table
    )
    return {name: interval(column) for name, column in zip(values, means.T, strict=True)}


def ratio_intervals(
    ratios: Mapping[str, Ratio],
    *,
    minus: Mapping[str, Ratio] | None = None,
    resamples: int,
    seed: int,
) -> dict[str, Interval]:
    """Return the interval of each ratio, or of its difference from another.

    Args:
        ratios: by name, over the same images.
        minus: ratios to subtract, by the same names and over the same images.
        resamples: number of bootstrap resamples, at least 1.
        seed: seed of the resampling.
    """
    tables = [np.array(list(group.values()), dtype=np.float64) for group in (ratios, minus or {})]
    rows = []
    for weights in resample_weights(tables[0].shape[2], resamples, seed):
        parts = [_divide(table @ weights) for table in tables if len(table)]
        rows.append(parts[0] - (parts[1] if minus else 0))
    return {name: interval(column) for name, column in zip(ratios, np.array(rows).T, strict=True)}


def resample_weights(images: int, resamples: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """Yield resamples, each as the count of every image in it, (images,)."""
    random = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.bincount(random.integers(images, size=images), minlength=images)


def interval(scores: NDArray[np.float64]) -> Interval:
    """Return the central interval of the resampled scores."""
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(scores, [tail, 1 - tail]).tolist()
    return {"low": low, "high": high}


def _divide(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide sums (ratios, 2), numerator by denominator; 0 where the denominator is 0."""
    part, whole = sums.T
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
