"""HTML figure: a photo with its caption, whose words show their attention; no scripts.

Words are radio buttons, so mouse, touch and keyboard select them. A page may hold several figures
with different names. Everything is inline: images as data URIs, and a content security policy that
blocks all requests.
"""

from base64 import b64encode
from html import escape
from io import BytesIO
from pathlib import Path

from PIL import Image

from captioner.overlay.heat import STYLE, Style, fit, heat_layer, veil, word_maps
from captioner.overlay.lettering import GATE, clean, format_note, format_scale, split_caption
from captioner.overlay.telling import find_most_telling
from captioner.result.caption import Caption
from captioner.result.diagnosis import diagnose

POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
"""Content security policy of a page with figures: no requests."""

# The photo and all layers overlap exactly; the layer of the hovered word, or else of the selected
# word, is visible.
CSS = """\
:root { color-scheme: light dark; --ink: #161616; --pale: #5c5c5c; --paper: #fff; --sure: .75; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #f4f4f4; --pale: #a8a8a8; --paper: #161616; --sure: .45; }
}
body { margin: 0; padding: 1.5rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.5 system-ui, sans-serif; }
.overlay { position: relative; }
.photo, .heat { display: block; width: min(100%, 72vh * var(--shape)); height: auto;
  aspect-ratio: var(--shape); }
.heat { position: absolute; top: 0; left: 0; visibility: hidden; pointer-events: none; }
input:checked ~ .heat, .word:hover .heat { visibility: visible; }
.caption:has(.word:hover) .word:not(:hover) .heat { visibility: hidden; }
.caption { border: 0; margin: 1rem 0; padding: 0; font-size: 1.6rem; line-height: 2.6; }
.caption legend { padding: 0 0 .4rem; font-size: 1rem; line-height: 1.5; color: var(--pale); }
.caption input { position: absolute; opacity: 0; pointer-events: none; }
.name { display: inline-block; padding: .1em .35em; border-radius: .3em; line-height: 1.35;
  cursor: pointer; border: 2px solid transparent;
  background: rgb(252 165 10 / calc(var(--sure) * var(--p, 0))); }
.name small { display: block; font-size: .55em; line-height: 1.2; }
.word:hover .name, input:checked + .name { border-color: var(--ink); }
input:focus-visible + .name { outline: 3px solid #3b82f6; outline-offset: 2px; }
.plain .name { font-size: 1rem; border-color: var(--pale); }
.scale { display: inline-block; width: 11rem; height: .9rem; margin-right: .8rem;
  vertical-align: middle; }
p { margin: .3rem 0; }
.pale { color: var(--pale); }
"""
"""Style sheet of figures, and of a page around them."""


def draw_page(
    photo: Image.Image, caption: Caption, *, style: Style = STYLE, longest: int = 960
) -> str:
    """Return an HTML page that shows the attention of the hovered or selected word.

    Args:
        photo: RGB, as displayed; any size.
        caption: caption of this photo.
        style: how attention is drawn.
        longest: maximum of the longer side of the images, pixels.

    Returns:
        The page; write it as UTF-8.

    Raises:
        ValueError: the caption is of another photo.
    """
    about = [caption.checkpoint, f"log-probability {caption.log_probability:.2f}"]
    if caption.image is not None:
        about.insert(0, Path(caption.image).name)
    below = f'<p class="pale">{" | ".join(map(text, about))}</p>\n'
    return f"""\
<!DOCTYPE html>
<html>
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{text(caption.text)}</title>
<style>
{CSS}main {{ max-width: 60rem; margin: auto; }}
</style>
</head>
<body>
<main>
{draw_figure(photo, caption, style=style, longest=longest, about=below)}</main>
</body>
</html>
"""


def draw_figure(
    photo: Image.Image,
    caption: Caption,
    *,
    style: Style,
    longest: int,
    name: str = "word",
    about: str = "",
) -> str:
    """Return the HTML of a figure that shows the attention of the hovered or selected word.

    The most telling word is selected at first. The colour of words follows their probability.

    Args:
        photo: RGB, as displayed; any size.
        caption: caption of this photo.
        style: how attention is drawn.
        longest: maximum of the longer side of the images, pixels.
        name: unique name of the figure on its page: small letters and digits.
        about: HTML below the figure.

    Raises:
        ValueError: the caption is of another photo.
    """
    photo = fit(photo, longest=min(longest, max(photo.size)))
    maps, scales = word_maps(caption, size=(photo.height, photo.width), style=style)
    layers = [
        _data_uri(heat_layer(weights, scale=scale, style=style), "PNG", optimize=True)
        for weights, scale in zip(maps, scales, strict=True)
    ]
    telling = find_most_telling(caption.words)
    words = [
        f'{" " * spaced}<label class="word">'
        f'<input type="radio" name="{name}"{" checked" * (n == telling)}>'
        f'<span class="name" style="--p: {word.probability:.3f}">{text(shown)}'
        f"<small>{escape(format_note(word))}</small></span>"
        f'<img class="heat" src="{layer}" alt=""></label>'
        for n, ((spaced, shown), word, layer) in enumerate(
            zip(split_caption(caption), caption.words, layers, strict=True)
        )
    ]
    gated = [GATE] if any(word.gate is not None for word in caption.words) else []
    return f"""\
<div class="overlay" style="--shape: {photo.width} / {photo.height}">
<img class="photo" src="{_data_uri(photo, "JPEG", quality=88)}" alt="{text(caption.text)}">
<fieldset class="caption">
<legend>Point at a word, or choose one, to see its attention.</legend>
<div dir="auto">{"".join(words)}</div>
<label class="plain"><input type="radio" name="{name}"{" checked" * (telling is None)}>\
<span class="name">photo alone</span></label>
</fieldset>
<p class="pale"><span class="scale" style="background: {_gradient(style)}"></span>\
{format_scale(scales)}</p>
{"".join(f"<p>{text(found)}</p>" for found in [*gated, *diagnose(caption.words)])}
{about}</div>
"""


def text(raw: str) -> str:
    """Escape text for HTML, between tags and in attributes."""
    return escape(clean(raw))


def _data_uri(picture: Image.Image, kind: str, **options: int) -> str:
    stream = BytesIO()
    picture.save(stream, kind, **options)
    return f"data:image/{kind.lower()};base64,{b64encode(stream.getvalue()).decode()}"


def _gradient(style: Style) -> str:
    colours, opacities = veil(style)
    stops = ", ".join(
        f"#{colours[3 * n : 3 * n + 3].hex()}{opacities[n]:02x}" for n in range(0, 256, 15)
    )
    return f"linear-gradient(to right, {stops})"
