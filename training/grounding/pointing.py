"""Agreement of attention with boxes, and its confidence interval.

attention correctness   attention inside the boxes; Liu et al. 2017, section 3 (arXiv:1605.09553)
pointing                whether the centre of the top region lies in a box; the pointing game of
                        Zhang et al. 2016, section 4.1 (arXiv:1608.00507), without its margin
"""

import torch
from torch import Tensor

from captioner.photo.preprocess import Geometry
from data.boxes import WHOLE, place_boxes

CENTRE_WIDTH = 0.25
"""Standard deviation of the centre baseline, as a fraction of the photo's sides."""

INTERVAL = 0.95
"""Confidence level of the intervals."""


def pointing(attention: Tensor, boxes: Tensor, grid: tuple[int, int]) -> Tensor:
    """Play the pointing game.

    Args:
        attention: (..., P); the first maximum counts.
        boxes: (N, 4) on the encoder's input, from `place_boxes`.
        grid: rows and columns of regions.

    Returns:
        (...), True where the centre of the top region lies in a box.
    """
    place = attention.argmax(dim=-1)
    y = (place // grid[1] + 0.5) / grid[0]
    x = (place % grid[1] + 0.5) / grid[1]
    return holds(boxes, x, y)


def holds(boxes: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Whether each point (...) lies in any of the boxes (N, 4)."""
    left, top, right, bottom = boxes.unbind(dim=-1)
    x, y = x[..., None], y[..., None]
    return ((left <= x) & (x <= right) & (top <= y) & (y <= bottom)).any(dim=-1)


def centre_attention(geometry: Geometry, grid: tuple[int, int]) -> Tensor:
    """Return the centre baseline: a Gaussian around the photo's centre.

    Args:
        geometry: position of the photo on the encoder's input.
        grid: rows and columns of regions.

    Returns:
        (P,), summing to 1.
    """
    left, top, right, bottom = place_boxes([WHOLE], geometry)[0]
    y = ((torch.arange(grid[0]) + 0.5) / grid[0] - top) / (bottom - top) - 0.5  # of the photo
    x = ((torch.arange(grid[1]) + 0.5) / grid[1] - left) / (right - left) - 0.5
    squared = y[:, None] ** 2 + x**2
    return torch.softmax((-squared / (2 * CENTRE_WIDTH**2)).flatten(), dim=0).float()


def resampled_means(values: Tensor, groups: Tensor, *, resamples: int, seed: int) -> Tensor:
    """Bootstrap the mean over phrases.

    Photos are resampled with replacement, because phrases of one photo are not independent.
    Source: Efron and Tibshirani 1993, chapter 6.

    Args:
        values: (N, F), one row per phrase.
        groups: (N,), index of each phrase's photo.
        resamples: number of resamples.
        seed: seed of the resampling.

    Returns:
        (1 + resamples, F), float64; the first row holds the means without resampling.
    """
    _, groups = groups.unique(return_inverse=True)  # photos without such a phrase are not drawn
    count = int(groups.max()) + 1
    sums = torch.zeros(count, values.shape[1], dtype=torch.float64)
    sums.index_add_(0, groups, values.double())
    sizes = torch.bincount(groups, minlength=count).double()
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randint(count, (resamples, count), generator=generator)
    times = torch.zeros(1 + resamples, count, dtype=torch.float64)
    times[0] = 1
    times[1:].scatter_add_(1, drawn, torch.ones(resamples, count, dtype=torch.float64))
    return (times @ sums) / (times @ sizes)[:, None]


def estimate(draws: Tensor) -> dict[str, float]:
    """Return the value and its confidence interval.

    Args:
        draws: (1 + resamples,): the value, then its bootstrap resamples.
    """
    tail = (1 - INTERVAL) / 2
    bounds = torch.tensor([tail, 1 - tail], dtype=draws.dtype)
    low, high = draws[1:].quantile(bounds).tolist() if len(draws) > 1 else [float(draws[0])] * 2
    return {"value": float(draws[0]), "low": low, "high": high}
