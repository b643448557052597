"""High dynamic range -> sRGB for a standard display."""

import numpy as np
from PIL import Image

_WHITE = 203.0
"""Brightness of white paper in HDR, candela per square metre (ITU-R BT.2408)."""
_ROWS = 256
"""Rows converted at once."""
_FINE = 4096
"""Steps of linear light from black to white."""
_TO_SRGB = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]],
    np.float32,
)
"""Linear BT.2020 -> linear sRGB primaries (ITU-R BT.2087)."""


def from_pq(picture: Image.Image, *, wide: bool) -> Image.Image:
    """Convert an HDR image in PQ (SMPTE ST 2084) to sRGB, clipping above diffuse white.

    Args:
        picture: mode RGB.
        wide: whether it has BT.2020 primaries.
    """
    root = np.linspace(0, 1, 256) ** (32 / 2523)
    signal = np.maximum(root - 0.8359375, 0) / (18.8515625 - 18.6875 * root)
    light = (10_000 / _WHITE * signal ** (8192 / 1305)).astype(np.float32)
    linear = np.linspace(0, 1, _FINE + 1)
    shown = np.where(linear > 0.0031308, 1.055 * linear ** (1 / 2.4) - 0.055, 12.92 * linear)
    levels = np.rint(255 * shown).astype(np.uint8)
    pixels = np.asarray(picture)
    brought = np.empty_like(pixels)
    for top in range(0, len(pixels), _ROWS):
        part = light[pixels[top : top + _ROWS]]
        part = part @ _TO_SRGB.T if wide else part
        brought[top : top + _ROWS] = levels[np.rint(np.clip(part, 0, 1) * _FINE).astype(np.intp)]
    return Image.fromarray(brought)
