"""Sizes, colours, fonts and words for the drawing functions."""

from functools import cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

Random = np.random.Generator
Colour = tuple[int, int, int]

_FONTS = ("DejaVuSans", "DejaVuSans-Bold", "DejaVuSerif", "DejaVuSansMono", "cmr10", "STIXGeneral")
MONO = "DejaVuSansMono"
_SYLLABLES = (
    "a al an ar be bo ca co da de di do el en er es fa fi ga go ha he ho i in is ka la le li lo ma "
    "me mi mo na ne ni no o on or pa pe pi po qua ra re ri ro sa se si so ta te ti to tra u un va "
    "ve vi vo wa we y za"
)


def blank(random: Random, colour: Colour) -> Image.Image:
    """An image of one colour and random size."""
    size = [int(random.integers(240, 720)) for _ in range(2)]
    return Image.new("RGB", (size[0], size[1]), colour)


def colour(random: Random, low: int = 0, high: int = 256) -> Colour:
    """A random colour, with channels in this range."""
    red, green, blue = (int(level) for level in random.integers(low, high, 3))
    return red, green, blue


def paper(random: Random) -> tuple[Colour, Colour]:
    """A background and a text colour: mostly black on white, sometimes tinted or light on dark."""
    kind = random.random()
    if kind < 0.5:
        return (255, 255, 255), (0, 0, 0)
    if kind < 0.75:
        return colour(random, 220, 256), colour(random, 0, 80)
    return colour(random, 0, 60), colour(random, 170, 256)


def font(random: Random, size: int, name: str | None = None) -> ImageFont.FreeTypeFont:
    """A font of this size in pixels, random unless named."""
    return _load(name or str(random.choice(_FONTS)), size)


@cache
def _load(name: str, size: int) -> ImageFont.FreeTypeFont:
    from matplotlib import get_data_path  # noqa: PLC0415  # an optional extra

    return ImageFont.truetype(f"{get_data_path()}/fonts/ttf/{name}.ttf", size)


def word(random: Random) -> str:
    """A random word of no language."""
    syllables = _SYLLABLES.split()
    return "".join(str(random.choice(syllables)) for _ in range(random.integers(1, 4)))


def words(random: Random, count: int) -> str:
    """Several random words, with occasional capitals and commas."""
    found = [word(random) for _ in range(count)]
    found = [own.title() if random.random() < 0.1 else own for own in found]
    return " ".join(own + ("," if random.random() < 0.08 else "") for own in found)


def number(random: Random) -> str:
    """A random number as found in tables."""
    value = float(random.gamma(1.0, 300.0))
    return f"{value:.2f}" if random.random() < 0.5 else f"{int(value):,}"


def arrow(draw: ImageDraw.ImageDraw, start: np.ndarray, end: np.ndarray, ink: Colour) -> None:
    """An arrow."""
    draw.line([tuple(start), tuple(end)], fill=ink, width=2)
    along = (end - start) / max(float(np.linalg.norm(end - start)), 1.0)
    across = np.array([-along[1], along[0]])
    head = [end, end - 10 * along + 5 * across, end - 10 * along - 5 * across]
    draw.polygon([tuple(point) for point in head], fill=ink)
