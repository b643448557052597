"""Attention over regions -> weight of every pixel of the photo.

Unit: a weight of 1 is what every pixel gets from uniform attention; 5 is five times as much. It
depends neither on the grid nor on the size of the display, so words, photos and models compare. The
mean over the photo, times the share of the input that shows the photo, is the attention that fell
on the photo; the rest went to the padding of a letterboxed input.
"""

from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float

from captioner.decoders.output import Float64Array
from captioner.photo.framing import Float32Array, Geometry

LEAST_SCALE = 4.0
"""No scale is below this many times uniform: else noise would look like attention wherever a model
attends to everything at once."""


def spread(
    attention: Float[Float32Array, "gh gw"],
    geometry: Geometry,
    *,
    smooth: bool = False,
    size: tuple[int, int] | None = None,
) -> Float[Float32Array, "H W"]:
    """Spread one word's attention over the regions to the pixels of the photo.

    Plain, every point of the photo has the weight of its region, and a pixel the mean over its
    area. Smooth, a point's weight runs from the centre of one region to the next along a cubic
    with no slope at the centres (the filter B = C = 0 of Mitchell and Netravali 1988): weights
    are never negative, never above the heaviest region, and that weight is reached in the
    heaviest region. Both keep the sum of the attention, up to what smoothing carries across the
    edge of a letterboxed photo.

    Args:
        attention: weights of the regions, none negative; summing to 1 if 1 is to mean even.
        geometry: the part of the photo that the regions tile.
        smooth: blend between the centres of regions instead of showing their edges.
        size: (height, width) to draw at, in pixels, if not the photo's own: all of the photo at
            another scale.

    Returns:
        Weight of every pixel, in units of uniform attention; 0 where the model saw nothing.

    Raises:
        ValueError: a weight is negative or not a number, or the size is not positive.
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
    """Return the heaviest region's weight, in units of uniform attention."""
    return float(attention.max()) * attention.size


def choose_scales(maps: Sequence[Float[Float32Array, "H W"]], *, shared: bool) -> list[float]:
    """Return for each word the weight to draw at full strength; never below `LEAST_SCALE`.

    Args:
        maps: one map a word, from `spread`.
        shared: every word gets the heaviest weight of any, so that words compare, and most are
            faint; else its own heaviest weight.
    """
    scales = [max(LEAST_SCALE, float(weights.max())) for weights in maps]
    return [max(scales)] * len(scales) if shared and scales else scales


def _shares(
    seen: tuple[float, float],
    regions: int,
    photo: tuple[int, int],
    filter_sum: Callable[[Float64Array], Float64Array],
) -> Float[Float64Array, "pixels regions"]:
    """How much of each region's weight each pixel takes, along one axis.

    Args:
        seen: start and length of what the regions tile, in pixels of the photo.
        regions: how many tile it.
        photo: length of the photo in its own pixels and in those to draw.
        filter_sum: integral of the filter up to a distance from a region's centre, in regions.
    """
    (start, length), (extent, pixels) = seen, photo
    edges = np.arange(pixels + 1) * (extent / pixels)
    edges = ((edges - start) * (regions / length)).clip(0, regions)  # counted in regions
    # Beyond the outermost centres the weight stays as it is: one more region there, of equal
    # weight, gives what it reaches to its neighbour.
    centres = np.arange(-1, regions + 1) + 0.5
    reached = np.diff(filter_sum(edges[:, None] - centres), axis=0)
    reached[:, 1] += reached[:, 0]
    reached[:, -2] += reached[:, -1]
    per_pixel = extent / pixels * regions / length
    return (reached[:, 1:-1] / per_pixel).clip(min=0)


def _box_filter_sum(distance: Float64Array) -> Float64Array:
    """Integral of 1 over a region's own width."""
    return distance.clip(-0.5, 0.5)


def _smooth_filter_sum(distance: Float64Array) -> Float64Array:
    """Integral of 2|x|^3 - 3x^2 + 1, which falls from 1 at a centre to 0 at its neighbours'."""
    x = distance.clip(-1, 1)
    integral: Float64Array = x - x**3 + x**3 * np.abs(x) / 2
    return integral
