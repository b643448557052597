"""The tray: recent photos of a session."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from app.controls import Upload, values_of
from app.payload import data_uri, printable
from app.picking import Picked
from app.samples import name_sample

_MOST = 24
"""Maximum number of photos; the oldest is dropped."""
_THUMBNAIL_PIXELS = (120, 120)


@dataclass(frozen=True, kw_only=True)
class Kept:
    """A photo of the tray."""

    path: Path
    thumbnail: str
    """A data URI."""


def keep(tray: Sequence[Kept], path: Path, opened: Upload) -> tuple[Kept, ...]:
    """Add a photo to the tray, unless it is there already or is a sample."""
    if name_sample(path) or path in [kept.path for kept in tray]:
        return tuple(tray)
    small = opened.picture.copy()
    small.thumbnail(_THUMBNAIL_PIXELS)
    return (Kept(path=path, thumbnail=data_uri(small)), *tray)[:_MOST]


def draw_tray(tray: Sequence[Kept]) -> str:
    """Return the HTML of a button for each photo; the samples' script handles clicks."""
    if not tray:
        return ""
    buttons = "".join(
        f'<li><button type="button" data-sample="{n}" aria-label="{escape(printable(k.path.name))}"'
        f' title="{escape(printable(k.path.name))}"><img src="{k.thumbnail}" alt=""></button></li>'
        for n, k in enumerate(tray)
    )
    return f'<h2>Your photos</h2><ul class="samples tray">{buttons}</ul>'


def pick_kept(tray: Sequence[Kept], asked: gr.EventData) -> Picked:
    """Select the photo of the tray whose index the page sent."""
    number: Any = values_of(asked, "sample").get("sample")
    if number not in range(len(tray)):
        raise gr.Error("That photo is no longer here; choose it again.", print_exception=False)
    return Picked.of(tray[number].path)
