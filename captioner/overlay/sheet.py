"""Contact sheet: the caption over the photo, then one panel for every word."""

import math
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageDraw

from captioner.overlay.heat import STYLE, Style, fit, heatmap, word_maps
from captioner.overlay.lettering import (
    GATE,
    Font,
    clean,
    find_font_problems,
    format_note,
    format_scale,
    load_font,
    wrap,
)
from captioner.result.caption import Caption
from captioner.result.diagnosis import diagnose
from captioner.words.writing import is_right_to_left

_PAPER, _INK, _PALE = "#ffffff", "#161616", "#5c5c5c"
_MARGIN, _GAP = 28, 24
_TITLE, _WORD, _NOTE = 30, 24, 17  # sizes of letters
_LINE = 1.3  # from one line to the next, in sizes of letters
_LEAST_COLUMN = 150  # room for a word
_SHAPE = 1.4  # width of a sheet over its height, about
_BAR = (180, 14)  # the colours in the foot


@dataclass(frozen=True, kw_only=True)
class _Panel:
    picture: Image.Image
    words: list[str]  # lines
    note: str

    @property
    def height(self) -> int:
        text = len(self.words) * _WORD + bool(self.note) * _NOTE
        return self.picture.height + round(text * _LINE) + _GAP


def contact_sheet(
    photo: Image.Image, caption: Caption, *, style: Style = STYLE, panel: int = 320
) -> Image.Image:
    """Draw a contact sheet: the caption, the photo, and a panel for every word.

    The foot explains the scale, and what panels cannot show: attention that is uniform or the same
    for all words, and missing letters. Panels run from right to left if the caption does.

    Args:
        photo: RGB, as displayed; any size.
        caption: caption of this photo.
        style: how attention is drawn.
        panel: longer side of a panel's image, pixels.

    Raises:
        ValueError: the caption is of another photo.
    """
    photo = fit(photo, longest=panel)
    column = max(photo.width, _LEAST_COLUMN)
    everything = clean(" ".join([caption.text, *(word.text for word in caption.words)]))
    title, font, notes = (load_font(s, for_text=everything) for s in (_TITLE, _WORD, _NOTE))
    maps, scales = word_maps(caption, size=(photo.height, photo.width), style=style)
    panels = [_Panel(picture=photo, words=[], note="photo")]
    for word, weights, scale in zip(caption.words, maps, scales, strict=True):
        picture = heatmap(photo, weights, scale=scale, style=style)
        lines = wrap(clean(word.text), font, width=column)
        panels.append(_Panel(picture=picture, words=lines, note=format_note(word)))

    across = _count_columns(panels, column)
    rows = [panels[start : start + across] for start in range(0, len(panels), across)]
    heights = [max(panel.height for panel in row) for row in rows]
    width = across * (column + _GAP) - _GAP
    backwards = is_right_to_left(caption.text)
    head = _draw_head(wrap(clean(caption.text), title, width=width), width, title, backwards)
    gated = [GATE] if any(word.gate is not None for word in caption.words) else []
    found = [*gated, *diagnose(caption.words), *find_font_problems(everything)]
    foot = _draw_foot(width, format_scale(scales), found, style, notes)
    height = head.height + sum(heights) + foot.height
    sheet = Image.new("RGB", (width + 2 * _MARGIN, height + 2 * _MARGIN), _PAPER)
    sheet.paste(head, (_MARGIN, _MARGIN))
    top = _MARGIN + head.height
    for row, height in zip(rows, heights, strict=True):
        for place, shown in enumerate(row):
            column_at = across - 1 - place if backwards else place
            corner = (_MARGIN + column_at * (column + _GAP), top)
            _draw_panel(sheet, shown, corner, font, notes)
        top += height
    sheet.paste(foot, (_MARGIN, top))
    return sheet


def _count_columns(panels: list[_Panel], column: int) -> int:
    """Return the number of columns: three, or more for the intended aspect ratio."""
    height = panels[-1].height
    pleasant = math.sqrt(len(panels) * _SHAPE * height / (column + _GAP))
    return min(len(panels), max(3, round(pleasant)))


def _draw_head(lines: list[str], width: int, font: Font, backwards: bool) -> Image.Image:
    step = round(_TITLE * _LINE)
    head = Image.new("RGB", (width, len(lines) * step + _GAP // 2), _PAPER)
    for place, line in enumerate(lines):
        x = width - font.getlength(line) if backwards else 0
        ImageDraw.Draw(head).text((x, place * step - _TITLE * 0.2), line, fill=_INK, font=font)
    return head


def _draw_panel(
    sheet: Image.Image, panel: _Panel, corner: tuple[int, int], font: Font, notes: Font
) -> None:
    left, top = corner
    sheet.paste(panel.picture, (left, top))
    draw = ImageDraw.Draw(sheet)
    y = top + panel.picture.height + _WORD * 0.3
    for line in panel.words:
        draw.text((left, y), line, fill=_INK, font=font)
        y += _WORD * _LINE
    draw.text((left, y), panel.note, fill=_PALE, font=notes)


def _draw_foot(width: int, meaning: str, found: list[str], style: Style, font: Font) -> Image.Image:
    """Draw the colour legend, and the notes below it."""
    levels = np.linspace(0, 1, 256, dtype=np.float32)[None]
    bar = heatmap(Image.new("RGB", (256, 1), _PAPER), levels, scale=1.0, style=style)
    beside = width - _BAR[0] - _GAP
    legend = wrap(meaning, font, width=beside if beside > _BAR[0] else width)
    lines = [line for text in found for line in wrap(clean(text), font, width=width)]

    step = round(_NOTE * _LINE)
    above = 0 if beside > _BAR[0] else 1  # lines taken by the bar alone
    foot = Image.new("RGB", (width, step * (above + len(legend) + len(lines)) + _GAP), _PAPER)
    foot.paste(bar.resize(_BAR), (0, _GAP + (_NOTE - _BAR[1]) // 2))
    draw = ImageDraw.Draw(foot)
    x = 0 if above else _BAR[0] + _GAP
    for place, line in enumerate(legend, start=above):
        draw.text((x, _GAP + place * step), line, fill=_PALE, font=font)
    for place, line in enumerate(lines, start=above + len(legend)):
        draw.text((0, _GAP + place * step), line, fill=_INK, font=font)
    return foot
