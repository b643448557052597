"""Pixel weights -> heat map, whose opacity follows the weight."""

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from jaxtyping import Float
from PIL import Image

from captioner.errors import ConfigError
from captioner.overlay.colours import ColourMap, palette
from captioner.overlay.regions import choose_scales, spread
from captioner.photo.framing import Float32Array
from captioner.result.caption import Caption

_REDUCING_GAP = 3.0
"""Pillow's reducing_gap: average whole pixels first, down to this many times the size."""


Drawing = Literal["heat", "spotlight"]
Scale = Literal["word", "caption"]

_HEAT_CURVE, _SPOT_CURVE = 0.7, 4
"""Exponents of opacity, of the weight and of its complement, that keep half the maximum visible."""
_DUSK, _DUSK_ALPHA = (34, 34, 42), 0.8
"""Colour that a spotlight puts over the rest, and its opacity at full strength; a neutral colour
desaturates as it dims."""


@dataclass(frozen=True, kw_only=True)
class Style:
    """How attention is drawn."""

    drawing: Drawing = "heat"
    """Heat map, or a spotlight that dims and desaturates what was not attended to."""
    scale: Scale = "word"
    """Weight that is drawn at full strength: the maximum of each word, or of the caption."""
    smooth: bool = True
    """Interpolate between regions instead of showing their edges."""
    colour_map: ColourMap = "inferno"
    """Colour map of heat, from dark (no weight) to bright (maximum)."""
    alpha: float = 0.9
    """Maximum opacity, from 0 to 1."""

    def __post_init__(self) -> None:
        palette(self.colour_map)
        for name, known in (("drawing", get_args(Drawing)), ("scale", get_args(Scale))):
            if getattr(self, name) not in known:
                raise ConfigError(
                    f"overlay.{name} is {getattr(self, name)!r}; choose from {', '.join(known)}."
                )
        if not 0 <= self.alpha <= 1:
            raise ConfigError(f"overlay.alpha is {self.alpha}; it must be from 0 to 1.")


STYLE = Style()


def heatmap(
    photo: Image.Image, weights: Float[Float32Array, "H W"], *, scale: float, style: Style = STYLE
) -> Image.Image:
    """Draw a heat map over a photo.

    Args:
        photo: RGB, as displayed; H x W pixels.
        weights: weight of every pixel, from `spread` at the photo's size.
        scale: weight drawn at full strength; higher weights are clipped.
        style: drawing, colours and opacity; `smooth` and `scale` do not matter here.

    Returns:
        A new image of the photo's size.

    Raises:
        ValueError: weights and photo differ in size, or the scale is not positive.
    """
    if tuple(weights.shape) != (photo.height, photo.width):
        raise ValueError(
            f"weights of {weights.shape[0]} x {weights.shape[1]} pixels do not fit a photo of "
            f"{photo.height} x {photo.width}; spread them with size=(photo.height, photo.width)."
        )
    layer = heat_layer(weights, scale=scale, style=style).convert("RGBA")
    return Image.composite(layer.convert("RGB"), photo, layer.getchannel("A"))


def heat_layer(
    weights: Float[Float32Array, "H W"], *, scale: float, style: Style = STYLE
) -> Image.Image:
    """Draw the transparent heat map alone, to be composed with the photo elsewhere.

    Args:
        weights: weight of every pixel.
        scale: as in `heatmap`.
        style: as in `heatmap`.

    Returns:
        An image of mode P, whose palette includes opacity: small as a PNG.
    """
    if not scale > 0:
        raise ValueError(f"scale is {scale}; it must be above 0.")
    levels = np.rint((weights * (255 / scale)).clip(0, 255)).astype(np.uint8)
    layer = Image.fromarray(levels)
    colours, opacities = veil(style)
    layer.putpalette(colours)
    layer.info["transparency"] = opacities
    return layer


def veil(style: Style) -> tuple[bytes, bytes]:
    """Return the RGB colours and the opacities of 256 weights, as bytes."""
    weight = np.arange(256) / 255
    if style.drawing == "spotlight":
        colours = bytes(_DUSK) * 256
        opacity = _DUSK_ALPHA * style.alpha * (1 - weight) ** _SPOT_CURVE
    else:
        colours = palette(style.colour_map)
        opacity = style.alpha * weight**_HEAT_CURVE
    return colours, np.rint(255 * opacity).astype(np.uint8).tobytes()


def word_maps(
    caption: Caption, *, size: tuple[int, int], style: Style = STYLE
) -> tuple[list[Float[Float32Array, "H W"]], list[float]]:
    """Return a pixel map for every word, and the weight to draw each at full strength.

    Args:
        caption: the caption.
        size: (height, width) to draw at, in pixels; the whole photo as displayed.
        style: whether to interpolate, and whether words share a scale.

    Raises:
        ValueError: the size does not fit the captioned photo; it may not be upright yet.
    """
    geometry = caption.geometry
    ratio = max(size) / max(geometry.height, geometry.width)
    off = (size[0] - geometry.height * ratio, size[1] - geometry.width * ratio)
    if max(map(abs, off)) > 1:
        raise ValueError(
            f"a photo of {size[0]} x {size[1]} pixels is not the captioned one, which is "
            f"{geometry.height} x {geometry.width}; load_photo reads it and turns it upright."
        )
    maps = [
        spread(word.attention, geometry, smooth=style.smooth, size=size) for word in caption.words
    ]
    return maps, choose_scales(maps, shared=style.scale == "caption")


def fit(photo: Image.Image, *, longest: int) -> Image.Image:
    """Resize a photo, up or down, to this length of its longer side in pixels."""
    ratio = longest / max(photo.size)
    size = (max(1, round(photo.width * ratio)), max(1, round(photo.height * ratio)))
    return photo.resize(size, Image.Resampling.LANCZOS, reducing_gap=_REDUCING_GAP)
