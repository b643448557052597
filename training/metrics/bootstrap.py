"""How sure a score is: its interval, as if other images had been drawn.

Source: Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 13 (percentile
intervals). Images are drawn with replacement. BLEU is not a mean: its counts are summed anew over
the images of each draw. CIDEr keeps the document frequencies of the whole split, so the interval is
that of the mean over images, as the split weighs them.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

LEVEL = 0.95
"""Share of the resampled scores that an interval holds."""

Interval = dict[str, float]
"""The ends, as `low` and `high`."""


class Ratio(NamedTuple):
    """A sum over images divided by another, such as errors by words."""

    part: Sequence[float]
    """Of every image."""
    whole: Sequence[float]
    """Of every image, in the same order."""

    @property
    def value(self) -> float:
        """The ratio over all images; 0 where the whole is."""
        return sum(self.part) / sum(self.whole) if sum(self.whole) else 0.0


def mean_intervals(
    values: Mapping[str, Sequence[float]], *, resamples: int, seed: int
) -> dict[str, Interval]:
    """Return the interval of each mean, from the values of every image, in the same order.

    Args:
        values: by name, one value for each image.
        resamples: how often images are drawn, 1 or more.
        seed: of the draws; the same seed draws the same images whatever is measured.
    """
    if not values:
        return {}
    table = np.array(list(values.values()), dtype=np.float64).T  # (images, names)
    means = np.stack([t @ table for t in draw_times(len(table), resamples, seed)]) / len(table)
    return {name: interval(column) for name, column in zip(values, means.T, strict=True)}


def ratio_intervals(
    ratios: Mapping[str, Ratio],
    *,
    minus: Mapping[str, Ratio] | None = None,
    resamples: int,
    seed: int,
) -> dict[str, Interval]:
    """Return the interval of each ratio, or of its difference to another one.

    Args:
        ratios: by name, of the same images.
        minus: what is subtracted, by the same names and of the same images.
        resamples: how often images are drawn, 1 or more.
        seed: of the draws.
    """
    tables = [np.array(list(some.values()), dtype=np.float64) for some in (ratios, minus or {})]
    rows = []
    for times in draw_times(tables[0].shape[2], resamples, seed):
        parts = [_divide(table @ times) for table in tables if len(table)]
        rows.append(parts[0] - (parts[1] if minus else 0))
    return {name: interval(column) for name, column in zip(ratios, np.array(rows).T, strict=True)}


def draw_times(images: int, resamples: int, seed: int) -> Iterator[NDArray[np.int64]]:
    """How often each image is drawn, for one resample after the other."""
    random = np.random.default_rng(seed)
    for _ in range(resamples):
        yield np.bincount(random.integers(images, size=images), minlength=images)


def interval(scores: NDArray[np.float64]) -> Interval:
    """Return the ends between which most resampled scores lie."""
    tail = (1 - LEVEL) / 2
    low, high = np.quantile(scores, [tail, 1 - tail]).tolist()
    return {"low": low, "high": high}


def _divide(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """Divide parts by wholes, (ratios, 2); what has no whole is 0."""
    part, whole = sums.T
    return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
