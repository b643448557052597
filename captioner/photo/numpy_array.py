"""NumPy arrays as photos."""

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from captioner.errors import ImageError
from captioner.photo.colour import quantise


def from_array(array: NDArray[Any]) -> Image.Image:
    """Check an array's shape and values, and convert it to an image.

    Raises:
        ImageError: it is not a photo.
    """
    if not array.size:
        raise ImageError(f"the array is empty, its shape is {array.shape}; give one with pixels.")
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)):
        raise ImageError(
            f"an array of shape {array.shape} is not a photo; "
            "give (height, width) or (height, width, channels) with 1, 3 or 4 channels."
        )
    if array.ndim == 3 and array.shape[2] == 1:
        array = array[..., 0]
    if array.dtype == np.uint8:
        return Image.fromarray(np.ascontiguousarray(array))
    if array.dtype in (np.uint16, np.bool_):
        return Image.fromarray(quantise(array, white=65535 if array.dtype == np.uint16 else 1))
    if not np.issubdtype(array.dtype, np.floating):
        raise ImageError(
            f"an array of {array.dtype} is not a photo; "
            "give uint8, uint16, bool, or floats from 0 to 1."
        )
    if not np.isfinite(array).all():
        raise ImageError("the array holds values that are not numbers; replace them.")
    low, high = float(array.min()), float(array.max())
    if low < 0 or high > 1:
        raise ImageError(
            f"floats must lie from 0 to 1, but these go from {low:g} to {high:g}; "
            "scale them, or give uint8."
        )
    return Image.fromarray(quantise(array))
