"""Images of a gallery: thumbnails and heat maps."""

from collections.abc import Sequence
from io import BytesIO

from jaxtyping import Float
from PIL import Image

from captioner.overlay import Style, choose_scales, heat_layer, spread
from captioner.overlay.heat import fit
from captioner.photo import Source, load_reduced
from captioner.photo.framing import Float32Array, Geometry

THUMBNAIL = 320
"""Longer side of a thumbnail in pixels; smaller photos are not enlarged."""
_LAYER = 64  # longer side of a heat map in pixels; browsers interpolate


def draw_thumbnail(source: Source, *, name: str) -> Image.Image:
    """Read a photo at the size of its thumbnail.

    Raises:
        ImageError: the photo cannot be read.
    """
    photo, _ = load_reduced(source, at_least=(THUMBNAIL, THUMBNAIL), name=name)
    return fit(photo, longest=min(THUMBNAIL, max(photo.size)))


def draw_layers(
    attention: Sequence[Float[Float32Array, "gh gw"]], geometry: Geometry, *, style: Style
) -> Image.Image:
    """Draw the heat maps of all words, stacked vertically.

    Args:
        attention: map of every word, at least one.
        geometry: how the maps align with the photo.
        style: how attention is drawn.

    Returns:
        An image of mode P with opacity in its palette; every layer has the photo's aspect ratio.
    """
    ratio = _LAYER / max(geometry.height, geometry.width)
    height = max(1, round(geometry.height * ratio))
    width = max(1, round(geometry.width * ratio))
    maps = [spread(a, geometry, smooth=style.smooth, size=(height, width)) for a in attention]
    scales = choose_scales(maps, shared=style.scale == "caption")
    layers = [
        heat_layer(weights, scale=scale, style=style)
        for weights, scale in zip(maps, scales, strict=True)
    ]
    sheet = Image.new("P", (width, height * len(layers)))
    sheet.putpalette(layers[0].getpalette() or [])
    for n, layer in enumerate(layers):
        sheet.paste(layer, (0, height * n))
    sheet.info["transparency"] = layers[0].info["transparency"]
    return sheet


def encode_picture(picture: Image.Image) -> bytes:
    """Encode a thumbnail as JPEG, heat maps as PNG."""
    stream = BytesIO()
    if picture.mode == "P":
        picture.save(stream, "PNG", optimize=True)
    else:
        picture.save(stream, "JPEG", quality=80, optimize=True)
    return stream.getvalue()
