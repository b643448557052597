"""Overlays: the attention of every word, drawn on the photo.

attention of a word        (gh, gw)  weights of the regions
regions.spread             (H, W)    weight of every pixel, in multiples of uniform attention
heat.heatmap               RGB       photo with a heat map, or a spotlight
sheet, animation, figure   PNG, GIF or WebP, HTML
"""

from io import BytesIO
from typing import Literal, get_args

from PIL import Image

from captioner.errors import ConfigError
from captioner.overlay.animation import animate, draw_frames
from captioner.overlay.colours import ColourMap
from captioner.overlay.figure import draw_page
from captioner.overlay.heat import STYLE, Drawing, Scale, Style, heat_layer, heatmap, veil
from captioner.overlay.lettering import format_peak, format_probability, split_caption
from captioner.overlay.regions import LEAST_SCALE, choose_scales, peak, spread
from captioner.overlay.sheet import contact_sheet
from captioner.overlay.telling import find_most_telling
from captioner.result.caption import Caption, entropy
from captioner.result.diagnosis import DIFFUSE, SAME, diagnose, difference

__all__ = [
    "DIFFUSE",
    "LEAST_SCALE",
    "SAME",
    "ColourMap",
    "Drawing",
    "Format",
    "Scale",
    "Style",
    "animate",
    "choose_scales",
    "contact_sheet",
    "diagnose",
    "difference",
    "draw_frames",
    "draw_page",
    "entropy",
    "find_most_telling",
    "format_peak",
    "format_probability",
    "heat_layer",
    "heatmap",
    "peak",
    "render",
    "split_caption",
    "spread",
    "veil",
]

Format = Literal["png", "gif", "webp", "html"]
"""Contact sheet; animation, in two formats; page."""


def render(
    photo: Image.Image, caption: Caption, *, kind: str = "png", style: Style = STYLE
) -> bytes:
    """Draw the overlays of a caption as a file.

    Args:
        photo: RGB, as displayed, from `load_photo`; or smaller, from `load_reduced`.
        caption: caption of this photo.
        kind: a `Format`: contact sheet (png), animation (gif, webp) or page (html).
        style: how attention is drawn.

    Returns:
        Content of the file.

    Raises:
        ConfigError: there is no such format.
        ValueError: the caption is of another photo.
    """
    if kind == "png":
        stream = BytesIO()
        contact_sheet(photo, caption, style=style).save(stream, "PNG")
        return stream.getvalue()
    if kind == "html":
        return draw_page(photo, caption, style=style).encode()
    if kind in ("gif", "webp"):
        return animate(photo, caption, kind=kind, style=style)
    raise ConfigError(f"overlays cannot be {kind!r}; choose from {', '.join(get_args(Format))}.")
