"""Attention over regions -> weight of every pixel of the photo.

Weights are multiples of uniform attention: 5 is five times as much as every pixel would get if
attention were uniform. The unit depends neither on the grid nor on the display size, so words,
photos and models can be compared. The mean over the photo, times the fraction of the input that
shows the photo, is the attention on the photo; the rest fell on the padding of a letterboxed input.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from captioner.decoders.output import Float64Array
from captioner.photo.framing import Float32Array, Geometry

LEAST_SCALE = 4.0
"""Minimum scale, in multiples of uniform attention: otherwise noise would look like attention where
a model attends to everything."""


def spread(
    attention: Float[Float32Array, "gh gw"],
    geometry: Geometry,
    *,
    smooth: bool = False,
    size: tuple[int, int] | None = None,
) -> Float[Float32Array, "H W"]:
    """Spread one word's attention from the regions to the pixels of the photo.

    Without smoothing, every point of the photo has the weight of its region, and a pixel the mean
    over its area. With smoothing, weights between the centres of neighbouring regions follow a
    cubic with slope 0 at the centres (the filter B = C = 0 of Mitchell and Netravali 1988): they
    are never negative and never exceed the maximum, which is reached in its region. Both preserve
    the sum of attention, except for what smoothing carries across the edge of a letterboxed photo.

    Args:
        attention: weights of the regions, none negative; summing to 1 for multiples of uniform.
        geometry: the part of the photo that the regions cover.
        smooth: interpolate between regions instead of showing their edges.
        size: (height, width) to draw at, in pixels; the photo's own by default.

    Returns:
        Weight of every pixel, in multiples of uniform attention; 0 outside the input.

    Raises:
        ValueError: a weight is negative or not finite, or the size is not positive.
    """
    if not ((attention >= 0).all() and np.isfinite(attention).all()):
        raise ValueError("attention must be finite, and nowhere negative.")
    height, width = size or (geometry.height, geometry.width)
    if min(height, width) < 1:
        raise ValueError(f"cannot draw at {height} x {width} pixels; both must be 1 or more.")
    gh, gw = attention.shape
    filter_sum = _smooth_filter_sum if smooth else _box_filter_sum
    rows = _shares(
        (geometry.top, geometry.seen_height), gh, (geometry.height, height), filter_sum
    )  # (H, gh)
    cols = _shares(
        (geometry.left, geometry.seen_width), gw, (geometry.width, width), filter_sum
    )  # (W, gw)
    density = attention.astype(np.float64) * attention.size
    return (rows @ density).astype(np.float32) @ cols.T.astype(np.float32)


def peak(attention: Float[Float32Array, "gh gw"]) -> float:
    """Return the maximum weight, in multiples of uniform attention."""
    return float(attention.max()) * attention.size


def choose_scales(maps: Sequence[Float[Float32Array, "H W"]], *, shared: bool) -> list[float]:
    """Return the weight to draw at full strength for each word, at least `LEAST_SCALE`.

    Args:
        maps: a map per word, from `spread`.
        shared: whether all words get the maximum over all of them, which makes them comparable and
            most of them faint; otherwise each gets its own maximum.
    """
    scales = [max(LEAST_SCALE, float(weights.max())) for weights in maps]
    return [max(scales)] * len(scales) if shared and scales else scales


def _shares(
    seen: tuple[float, float],
    regions: int,
    photo: tuple[int, int],
    filter_sum: Callable[[Float64Array], Float64Array],
) -> Float[Float64Array, "pixels regions"]:
    """Return the fraction of each region's weight that each pixel gets, along one axis.

    Args:
        seen: start and length of the range that the regions cover, in pixels of the photo.
        regions: number of regions.
        photo: length of the photo in its own pixels and in pixels to draw.
        filter_sum: integral of the filter up to a distance from a region's centre, in regions.
    """
    (start, length), (extent, pixels) = seen, photo
    edges = np.arange(pixels + 1) * (extent / pixels)
    edges = ((edges - start) * (regions / length)).clip(0, regions)  # counted in regions
    # Beyond the outermost centres weights are constant: an extra region there, of equal weight,
    # passes its fraction to its neighbour.
    centres = np.arange(-1, regions + 1) + 0.5
    reached = np.diff(filter_sum(edges[:, None] - centres), axis=0)
    reached[:, 1] += reached[:, 0]
    reached[:, -2] += reached[:, -1]
    per_pixel = extent / pixels * regions / length
    return (reached[:, 1:-1] / per_pixel).clip(min=0)


def _box_filter_sum(distance: Float64Array) -> Float64Array:
    """Integrate 1 over a region's own width."""
    return distance.clip(-0.5, 0.5)


def _smooth_filter_sum(distance: Float64Array) -> Float64Array:
    """Integrate 2|x|^3 - 3x^2 + 1, which falls from 1 at a centre to 0 at its neighbours'."""
    x = distance.clip(-1, 1)
    integral: Float64Array = x - x**3 + x**3 * np.abs(x) / 2
    return integral
