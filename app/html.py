"""What the app shows, as HTML: the photo, the words with their overlays, the table of a batch.

Every picture is a data URI, so that no file of one user can be fetched by another, and every text
is escaped. `viewer.js` lays the overlay of the chosen word over the photo; `app.css` has the looks.
"""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from io import BytesIO

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from app.wording import note, percent, spread_word
from captioner import Caption
from captioner.overlay import ColourMap, Style, diagnose, heat_layer, shared_scale

_THUMBNAIL_PIXELS = 320


@dataclass(frozen=True, kw_only=True)
class BatchRow:
    """One photo of a batch; either a caption or an error."""

    name: str
    """The file as the user called it."""
    caption: str = ""
    log_probability: float | None = None
    """Of the whole caption."""
    error: str = ""
    thumbnail: str = ""
    """A data URI, or nothing."""


def draw_welcome() -> str:
    """Say what is to be seen here, in the looks that it will have."""
    words = [("Your", 0.9), ("photo,", 0.5), ("word", 1.0), ("by", 0.7), ("word", 0.25)]
    chips = "".join(
        f'<span class="chip" style="--p: {p}"><span>{word}</span></span>' for word, p in words
    )
    return (
        f'<div class="welcome"><div class="chips" aria-hidden="true">{chips}</div>'
        "<p>Choose a photo. Its caption appears here as the model writes it; the surer the model "
        "is of a word, the stronger its colour.</p>"
        "<p>Choose a word, and see where in the photo the model looked for it.</p></div>"
    )


def draw_stage(photo: Image.Image, *, title: str) -> str:
    """Show the photo, with room for an overlay and for a line about the chosen word."""
    return (
        f"<h2>{_text(title)}</h2>"
        f'<div class="stage" style="--shape: {photo.width} / {photo.height}">'
        f'<img class="photo" src="{data_uri(photo)}" alt="The photo">'
        '<div class="heat"></div></div>'
        '<p class="note" aria-live="polite"></p>'
    )


def draw_growing(caption: Caption, colour_map: ColourMap) -> str:
    """Show an unfinished caption; only its last word has an overlay yet."""
    if not caption.words:
        return ""
    last = len(caption.words) - 1
    densities = [word.attention * word.attention.size for word in caption.words]
    layer = _layer(spread_word(caption, last), shared_scale(densities), colour_map)
    chips = "".join(
        f'<span class="chip{" on" * (n == last)}" style="--p: {word.probability:.3f}">'
        f"{_name(word.text, word.probability)}</span> "
        for n, word in enumerate(caption.words)
    )
    return (
        f'<div class="words" data-text="{_text(caption.text)}" data-select="{last}">'
        f'<div class="chips growing" aria-busy="true">{chips}<span class="caret"></span></div>'
        f'<div hidden><div data-layer="{last}" style="--heat: url({layer})"></div></div></div>'
    )


def draw_words(caption: Caption, photo: Image.Image, *, colour_map: ColourMap, key: str) -> str:
    """Show a caption as words to choose from, each with its overlay and its probability.

    Args:
        caption: of this photo.
        photo: for the thumbnails.
        colour_map: of the overlays.
        key: tells these words from those of other captions on the page.
    """
    if not caption.words:
        return '<div class="words" data-text=""><p>The model has nothing to say.</p></div>'
    maps = [spread_word(caption, n) for n in range(len(caption.words))]
    scale = shared_scale(maps)
    chips, thumbnails, bars = [], [], []
    for n, (word, weights) in enumerate(zip(caption.words, maps, strict=True)):
        told = note(word, weights)
        chips.append(
            f'<label class="chip" data-n="{n}" data-note="{_text(told)}" '
            f'style="--p: {word.probability:.3f}">'
            f'<input type="radio" name="{_text(key)}" value="{n}">'
            f"{_name(word.text, word.probability)}</label>"
        )
        layer = _layer(weights, scale, colour_map)
        thumbnails.append(
            f'<div class="thumb" data-n="{n}" data-layer="{n}" style="--heat: url({layer})">'
            f"<div></div><span>{_text(word.text)}</span></div>"
        )
        bars.append(
            f'<div class="bar" data-n="{n}" style="--p: {word.probability:.3f}">'
            f"<i></i><span>{_text(word.text)}</span></div>"
        )
    small = photo.copy()
    small.thumbnail((_THUMBNAIL_PIXELS, _THUMBNAIL_PIXELS))
    last = len(caption.words) - 1
    said = ", ".join(f"{word.text} {percent(word.probability)}" for word in caption.words)
    warnings = "".join(
        f'<p class="warning">{_text(found)}</p>' for found in diagnose(caption.words)
    )
    return (
        f'<div class="words" data-text="{_text(caption.text)}" data-first="{last}" '
        f'style="--photo: url({data_uri(small)}); --shape: {photo.width} / {photo.height}">'
        '<fieldset class="chips"><legend>Choose a word to see where the model looked</legend>'
        f"{''.join(chips)}"
        '<label class="chip plain" data-n="" data-note="The photo alone">'
        f'<input type="radio" name="{_text(key)}" value=""><span>photo alone</span></label>'
        "</fieldset>"
        '<div class="player"><button type="button" class="play">Play all words</button>'
        '<button type="button" class="copy">Copy caption</button>'
        f'<span class="scale" style="background: {_gradient(colour_map)}"></span>'
        f"<span>from nothing to {scale:.0f} times an even look</span></div>"
        f"{warnings}"
        '<div class="strip" role="img" aria-label="The overlays of all words" tabindex="0">'
        f"{''.join(thumbnails)}</div>"
        "<h3>How sure of each word</h3>"
        f'<div class="plot" role="img" aria-label="{_text(said)}" tabindex="0">'
        f"{''.join(bars)}</div>"
        "</div>"
    )


def draw_batch(rows: Sequence[BatchRow], *, total: int, stopped: bool = False) -> str:
    """Show how far a batch has come, and what it found."""
    failed = sum(bool(row.error) for row in rows)
    said = f"{len(rows)} of {total} photo{'s' * (total != 1)} done" + (
        f", {failed} could not be read" * bool(failed)
    )
    if stopped:
        said = f"Stopped: {said}"
    body = "".join(
        f"<tr{' class=failed' * bool(row.error)}><td>{_thumbnail(row)}</td>"
        f'<th scope="row">{_text(row.name)}</th>'
        f"<td>{_text(row.error.removeprefix(f'{row.name}: ') or row.caption)}</td>"
        f"<td>{'' if row.log_probability is None else f'{row.log_probability:.2f}'}</td></tr>"
        for row in rows
    )
    return (
        f'<div class="batch"><p role="status">{said}</p>'
        f'<progress max="{total}" value="{len(rows)}" aria-label="Photos done"></progress>'
        "<table><thead><tr><td></td><th>Photo</th><th>Caption</th><th>Log-probability</th></tr>"
        f"</thead><tbody>{body}</tbody></table></div>"
    )


def data_uri(photo: Image.Image) -> str:
    """Write a photo as a JPEG that needs no file."""
    return _uri(photo, "JPEG", quality=85)


def _layer(weights: NDArray[np.float32], scale: float, colour_map: ColourMap) -> str:
    """Draw an overlay at full strength; the page lets the photo through."""
    layer = heat_layer(weights, scale=scale, style=Style(colour_map=colour_map, alpha=1.0))
    return _uri(layer.convert("RGBA"), "WEBP", quality=70, method=2)


def _name(text: str, probability: float) -> str:
    return f"<span>{_text(text)}<small>{escape(percent(probability))}</small></span>"


def _thumbnail(row: BatchRow) -> str:
    return f'<img src="{row.thumbnail}" alt="">' if row.thumbnail else ""


def _gradient(colour_map: ColourMap) -> str:
    """Lay the colours out from no weight to the heaviest, as the overlays have them."""
    style = Style(colour_map=colour_map, alpha=1.0)
    row = heat_layer(np.linspace(0, 1, 18, dtype=np.float32)[None], scale=1.0, style=style)
    stops = ", ".join(f"rgb({r} {g} {b})" for r, g, b, _ in np.asarray(row.convert("RGBA"))[0])
    return f"linear-gradient(to right, {stops})"


def _text(text: str) -> str:
    """Make any text harmless in HTML, between tags and between quotes."""
    return escape("".join(c if c.isprintable() else " " for c in text))


def _uri(picture: Image.Image, kind: str, **options: int) -> str:
    stream = BytesIO()
    picture.save(stream, kind, **options)
    return f"data:image/{kind.lower()};base64,{b64encode(stream.getvalue()).decode()}"
