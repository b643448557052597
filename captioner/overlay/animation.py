"""Animation: the photo with its caption, one frame per word, ending on the most telling word."""

from io import BytesIO

from PIL import Image, ImageDraw

from captioner.overlay.heat import STYLE, Style, fit, heatmap, word_maps
from captioner.overlay.lettering import (
    Font,
    clean,
    format_note,
    load_font,
    split_caption,
    wrap,
)
from captioner.overlay.telling import find_most_telling
from captioner.result.caption import Caption
from captioner.words.writing import is_right_to_left

_PAPER, _INK, _PALE, _LINE = "#161616", "#ffffff", "#9a9a9a", "#fca50a"
_MARGIN = 16
_WORD, _NOTE = 22, 16  # sizes of letters
_STEP = round(1.4 * _WORD)  # from one line to the next
_LEAST_WIDTH = 240  # room for a caption
_STILL = 2.0  # the first and the last frame stand this many times as long as a word

Piece = tuple[float, int, str]
"""Left edge, line and text of a word, or of the part of it on one line."""


def animate(
    photo: Image.Image,
    caption: Caption,
    *,
    kind: str = "gif",
    style: Style = STYLE,
    longest: int = 480,
    seconds: float = 0.8,
) -> bytes:
    """Draw a looping animation of the words' attention.

    Args:
        photo: RGB, as displayed; any size.
        caption: caption of this photo.
        kind: `gif`, which plays everywhere, with 256 colours per frame; or `webp`, with all
            colours.
        style: how attention is drawn.
        longest: longer side of the photo, pixels.
        seconds: duration of a word's frame.

    Raises:
        ValueError: the caption is of another photo.
    """
    frames = draw_frames(photo, caption, style=style, longest=longest)
    if kind == "gif":
        frames = [_quantise(frame) for frame in frames]
    each = round(1000 * seconds)
    durations = [each] * len(frames)
    durations[0] = durations[-1] = round(each * _STILL)
    stream = BytesIO()
    frames[0].save(
        stream, kind, save_all=True, append_images=frames[1:], duration=durations, loop=0
    )
    return stream.getvalue()


def draw_frames(
    photo: Image.Image, caption: Caption, *, style: Style = STYLE, longest: int = 480
) -> list[Image.Image]:
    """Draw the plain photo, then the overlay of every word, above the caption.

    The most telling word is repeated at the end, where an animation rests.

    Args:
        photo: RGB, as displayed; any size.
        caption: caption of this photo.
        style: how attention is drawn.
        longest: longer side of the photo, pixels; the caption is below it.

    Raises:
        ValueError: the caption is of another photo.
    """
    photo = fit(photo, longest=longest)
    maps, scales = word_maps(caption, size=(photo.height, photo.width), style=style)
    everything = clean(" ".join([caption.text, *(word.text for word in caption.words)]))
    font, notes = (load_font(size, for_text=everything) for size in (_WORD, _NOTE))
    width = max(photo.width, _LEAST_WIDTH)
    placed = _place_words(caption, font, width - 2 * _MARGIN)
    lines = 1 + max((line for pieces in placed for _, line, _ in pieces), default=0)

    page = Image.new(
        "RGB", (width, photo.height + 2 * _MARGIN + lines * _STEP + round(1.2 * _NOTE)), _PAPER
    )
    page.paste(photo, ((width - photo.width) // 2, 0))
    draw = ImageDraw.Draw(page)
    below = photo.height + _MARGIN
    _write(draw, placed, below, _INK, font)
    frames = [page.copy()]
    _write(draw, placed, below, _PALE, font)
    for word, weights, scale, pieces in zip(caption.words, maps, scales, placed, strict=True):
        frame = page.copy()
        heat = heatmap(photo, weights, scale=scale, style=style)
        frame.paste(heat, ((width - photo.width) // 2, 0))
        draw = ImageDraw.Draw(frame)
        _write(draw, [pieces], below, _INK, font)
        for x, line, text in pieces:
            y = below + line * _STEP + _WORD * 1.25
            end = _MARGIN + x + font.getlength(text)
            draw.line([(_MARGIN + x, y), (end, y)], fill=_LINE, width=3)
        draw.text((_MARGIN, below + lines * _STEP), format_note(word), fill=_INK, font=notes)
        frames.append(frame)
    telling = find_most_telling(caption.words)
    return frames if telling is None else [*frames, frames[1 + telling]]


def _quantise(frame: Image.Image) -> Image.Image:
    """Reduce to 256 colours; Pillow's default palette loses the few bright ones of the overlay."""
    colours = frame.quantize(256, method=Image.Quantize.FASTOCTREE)
    return frame.quantize(palette=colours, dither=Image.Dither.FLOYDSTEINBERG)


def _place_words(caption: Caption, font: Font, width: int) -> list[list[Piece]]:
    """Lay out the words, line by line; a long word takes several lines."""
    placed: list[list[Piece]] = []
    x, line = 0.0, 0
    for spaced, text in split_caption(caption):
        x += font.getlength(" ") if spaced and x else 0
        length = font.getlength(clean(text))
        if x and x + length > width:
            x, line = 0.0, line + 1
        parts = wrap(clean(text), font, width=width)
        placed.append([(x if n == 0 else 0.0, line + n, part) for n, part in enumerate(parts)])
        line += max(len(parts) - 1, 0)
        x = font.getlength(parts[-1]) + (x if len(parts) == 1 else 0.0) if parts else x
    if is_right_to_left(caption.text):
        return [
            [(width - at - font.getlength(part), line, part) for at, line, part in pieces]
            for pieces in placed
        ]
    return placed


def _write(
    draw: ImageDraw.ImageDraw, placed: list[list[Piece]], top: int, ink: str, font: Font
) -> None:
    for x, line, text in (piece for pieces in placed for piece in pieces):
        draw.text((_MARGIN + x, top + line * _STEP), text, fill=ink, font=font)
