"""Images of any mode, depth, colour space or transparency -> 8-bit sRGB on white."""

from contextlib import suppress
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageCms
from PIL.ExifTags import Base as Tag

from captioner.errors import ImageError

_PQ, _WIDE = 16, 9
"""ITU-T H.273 codes: PQ transfer characteristics, BT.2020 primaries."""

_ROWS = 256
"""Rows converted at a time, to limit memory."""
_WHITE = 203.0
"""Luminance of diffuse white in HDR, in candela per square metre (ITU-R BT.2408)."""
_FINE = 4096
"""Resolution of the table from linear light to sRGB."""
_TO_SRGB = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]],
    np.float32,
)
"""Linear BT.2020 -> linear sRGB primaries (ITU-R BT.2087)."""
NOT_NUMBERS = "it holds pixels that are not numbers; save it as JPEG or PNG."


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert to 8-bit sRGB without transparency; always a new image."""
    image.load()
    profile = image.info.get("icc_profile")
    codes = dict(image.info.get("nclx_profile") or {})
    image = _to_eight_bits(image)
    if not image.has_transparency_data:
        shown = _to_srgb(image, profile)
        if not profile and codes.get("transfer_characteristics") == _PQ:
            return from_pq(shown, wide=codes.get("color_primaries") == _WIDE)
        return shown
    clear = image.info.get("transparency")
    if isinstance(clear, tuple) and max(clear) > 255:  # a 16-bit colour; Pillow keeps upper bytes
        image = image.copy()
        image.info["transparency"] = tuple(level >> 8 for level in clear)
    image = image.convert("LA" if image.mode in ("1", "L", "LA", "La") else "RGBA")
    page = Image.new("RGB", image.size, "white")
    page.paste(_to_srgb(image.convert(image.mode[:-1]), profile), mask=image.getchannel("A"))
    return page


def _to_srgb(image: Image.Image, profile: bytes | None) -> Image.Image:
    """Convert with the embedded ICC profile if it is usable, and else as Pillow does."""
    if image.mode not in ("RGB", "L", "CMYK", "LAB"):
        image = image.convert("RGB")
    if profile:
        # Corrupt profiles, and those of another colour space than the pixels, are ignored.
        with suppress(ImageCms.PyCMSError, OSError, ValueError, TypeError):
            source = ImageCms.ImageCmsProfile(BytesIO(profile))
            # Converting takes as long as decoding four times, and most profiles are sRGB.
            if image.mode == "RGB" and ImageCms.getProfileDescription(source).startswith("sRGB"):
                return image.copy()
            target = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
            if converted is not None:
                return converted
    return image.convert("RGB")


def _to_eight_bits(image: Image.Image) -> Image.Image:
    """Scale 16-bit, 32-bit and float gray to 8 bits; other modes pass unchanged.

    White is the maximum of 16-bit samples (12-bit where a TIFF says so). 32-bit integers and floats
    have no defined white: see `customary_white`.
    """
    if not image.mode.startswith(("I", "F")):
        return image
    values = np.asarray(image)
    if not np.isfinite(values).all():
        raise ImageError(NOT_NUMBERS)
    if image.mode.startswith("I;16"):
        bits = getattr(image, "tag_v2", {}).get(Tag.BitsPerSample, (16,))[0]
        white = 2.0**bits - 1
    else:
        top = 2.0**31 - 1 if image.mode == "I" else None
        white = customary_white(float(values.max()), top=top)
    gray = Image.fromarray(quantise(values, white=white))
    clear = image.info.get("transparency")
    if isinstance(clear, int):
        gray.putalpha(Image.fromarray(quantise(values != clear)))
    return gray


def customary_white(peak: float, *, top: float | None) -> float:
    """Return the smallest customary white level that no pixel exceeds.

    Args:
        peak: the largest value of a colour.
        top: the maximum of the integer type; None for floats.
    """
    tops = (1.0, 255.0, 65535.0) if top is None else (65535.0, top)
    return next((white for white in tops if peak <= white), peak)


def quantise(values: NDArray[Any], *, white: float | NDArray[Any] = 1) -> NDArray[np.uint8]:
    """Scale values from 0 to white -> 0 to 255, clipped and rounded to nearest."""
    levels = np.empty(values.shape, np.uint8)
    # A whole photo in float64 would take eight times as much memory.
    for top in range(0, len(values), _ROWS):
        fractions = np.clip(values[top : top + _ROWS] / white, 0, 1)
        levels[top : top + _ROWS] = np.rint(fractions * 255.0)
    return levels


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
