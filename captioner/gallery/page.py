"""HTML of a gallery: a search box, and one card per photo.

The page loads only images next to it, and runs only its own script. The content security policy
allows script and style by digest, so no caption or file name can inject code.
"""

from base64 import b64encode
from collections.abc import Sequence
from hashlib import sha256
from html import escape

from captioner.overlay.figure import text

_CSS = """\
:root { color-scheme: light dark; --ink: #161616; --pale: #5c5c5c; --paper: #fff; --card: #f1f1f1;
  --doubt: #b02a2a; }
@media (prefers-color-scheme: dark) {
  :root { --ink: #f4f4f4; --pale: #a8a8a8; --paper: #161616; --card: #242424;
    --doubt: #ff9c8f; }
}
body { margin: 0; background: var(--paper); color: var(--ink);
  font: 1rem/1.4 system-ui, sans-serif; }
header { position: sticky; top: 0; z-index: 2; display: flex; flex-wrap: wrap; gap: .5rem 1.5rem;
  align-items: baseline; padding: 1rem 1.5rem; background: var(--paper); }
h1 { margin: 0; font-size: 1.3rem; }
input { flex: 1 1 14rem; max-width: 30rem; padding: .4rem .7rem; font: inherit; color: inherit;
  background: var(--card); border: 1px solid var(--pale); border-radius: .4rem; }
output, .name { color: var(--pale); }
main { display: grid; grid-template-columns: repeat(auto-fill, minmax(15rem, 1fr)); gap: 1rem;
  padding: 0 1.5rem 1.5rem; }
figure { margin: 0; padding: .7rem; border-radius: .5rem; background: var(--card);
  content-visibility: auto; contain-intrinsic-size: auto 19rem; overflow-wrap: anywhere; }
figure[hidden] { display: none; }
.frame { display: block; position: relative; overflow: hidden; width: fit-content;
  max-width: 100%; margin: 0 auto .6rem; line-height: 0; }
.frame img { max-width: 100%; height: auto; }
.frame .heat { position: absolute; left: 0; width: 100%; max-width: none; pointer-events: none; }
.name { margin: 0; font-size: .8rem; }
b { font-weight: inherit; cursor: pointer; border-radius: .2em; }
b.doubtful { text-decoration: underline wavy var(--doubt); text-underline-offset: .2em; }
.doubt { color: var(--doubt); font-weight: 600; }
b.on { color: #161616; background: #fca50a; }
:focus-visible { outline: 3px solid #3b82f6; outline-offset: 2px; }
"""

# One image holds the maps of all words, stacked vertically; the frame shows one of them.
_SCRIPT = """\
"use strict";
const cards = [...document.querySelectorAll("figure")];
const fold = (text) => text.normalize("NFKD").replace(/\\p{M}/gu, "").toLowerCase();
const texts = cards.map((card) => fold(card.textContent));
const box = document.querySelector("input");
const count = document.querySelector("output");

function search() {
  const asked = fold(box.value).split(/\\s+/).filter(Boolean);
  let shown = 0;
  cards.forEach((card, n) => {
    card.hidden = !asked.every((word) => texts[n].includes(word));
    shown += !card.hidden;
  });
  count.textContent = asked.length ? `${shown} of ${cards.length}` : `${cards.length} photos`;
}

function look(card, chosen) {
  const words = [...card.querySelectorAll("b")];
  for (const word of words) word.classList.toggle("on", word === chosen);
  let heat = card.querySelector(".heat");
  if (!heat && chosen) {
    heat = new Image();
    heat.className = "heat";
    heat.alt = "";
    heat.src = card.dataset.heat;
    card.querySelector(".frame").append(heat);
  }
  if (!heat) return;
  heat.hidden = !chosen;
  heat.style.height = `${100 * card.dataset.words}%`;
  if (chosen) heat.style.top = `${-100 * chosen.dataset.n}%`;
}

box.addEventListener("input", search);
search();
let last = null;
for (const kind of ["pointerover", "click", "focusout"]) {
  document.addEventListener(kind, (event) => {
    const card = event.target.closest("figure[data-heat]");
    if (last && last !== card) look(last, null);
    if (card) look(card, kind === "focusout" ? null : event.target.closest("b"));
    last = card;
  });
}
document.addEventListener("keydown", (event) => {
  const card = event.target.closest("figure[data-heat]");
  const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
  if (!card || !step) return;
  const words = [...card.querySelectorAll("b")];
  const now = words.findIndex((word) => word.classList.contains("on"));
  look(card, words[now < 0 && step < 0 ? words.length - 1 : now + step] ?? null);
  last = card;
  event.preventDefault();
});
"""


def _digest(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


_POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; img-src 'self' file:; "
    f"style-src {_digest(_CSS)}; script-src {_digest(_SCRIPT)}"
)

TAIL = f"</main>\n<script>{_SCRIPT}</script>\n</body>\n</html>\n"
"""HTML after the last card."""


MARK = '<meta name="generator" content="captioner">'
"""Identifies a gallery; near the start of every page."""


def head(title: str) -> str:
    """Return the HTML before the first card."""
    return f"""\
<!DOCTYPE html>
<html>
<head>
<meta charset="utf-8">
{MARK}
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{text(title)}</title>
<style>{_CSS}</style>
</head>
<body>
<header>
<h1>{text(title)}</h1>
<input type="search" placeholder="Search captions and names" aria-label="Search">
<output></output>
</header>
<main>
"""


def card(
    *,
    name: str,
    caption: str,
    thumbnail: tuple[str, int, int] | None,
    link: str | None,
    words: Sequence[tuple[str, bool]] = (),
    heat: str | None = None,
    doubts: Sequence[str] = (),
) -> str:
    """Return the HTML of one photo's card.

    Args:
        name: name of the photo.
        caption: caption text.
        thumbnail: address, height and width in pixels; None if the photo cannot be read.
        link: address of the photo itself.
        words: words with an attention map, and whether each is doubtful.
        heat: address of the image with all maps, stacked vertically.
        doubts: warnings about the caption.
    """
    if thumbnail is None:
        picture = '<p class="name">This photo can no longer be read.</p>'
    else:
        address, height, width = thumbnail
        tag, target = ("a", f' href="{escape(link)}"') if link else ("span", "")
        picture = (
            f'<{tag} class="frame"{target}>'
            f'<img src="{escape(address)}" width="{width}" height="{height}" '
            f'alt="{text(caption)}" loading="lazy" decoding="async"></{tag}>'
        )
    warning = f'\n<span class="doubt">{text(", ".join(doubts))}</span>' if doubts else ""
    layers = f' data-heat="{escape(heat)}" data-words="{len(words)}" tabindex="0"' if heat else ""
    return (
        f"<figure{layers}>{picture}"
        f'<figcaption dir="auto">{_sentence(caption, words if heat else ())}\n'
        f'<div class="name">{text(name)}{warning}</div></figcaption></figure>\n'
    )


def _sentence(caption: str, words: Sequence[tuple[str, bool]]) -> str:
    """Return the caption as HTML, with each word that has a map marked by its index."""
    parts, end = [], 0
    for n, (word, doubtful) in enumerate(words):
        start = caption.find(word, end)
        if start < 0:  # the caption was edited
            continue
        gap = caption[end:start]
        mark = ' class="doubtful" title="doubtful"' if doubtful else ""
        parts.append(f'{_between(gap)}<b data-n="{n}"{mark}>{text(word)}</b>')
        end = start + len(word)
    return "".join([*parts, _between(caption[end:])])


def _between(gap: str) -> str:
    """Escape text between words, preserving blanks at both ends."""
    before = " " if gap[:1].isspace() else ""
    after = " " if gap.strip() and gap[-1:].isspace() else ""
    return before + text(gap) + after
