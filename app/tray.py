"""The tray: recent photos of a session."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr

from app.controls import Upload, event_values, page_error
from app.payload import data_uri, printable
from app.samples import name_sample
from app.selection import EXPIRED, Selection

_MOST = 24
"""Maximum number of photos; the oldest is dropped."""
_THUMBNAIL_PIXELS = (120, 120)


@dataclass(frozen=True, kw_only=True)
class TrayPhoto:
    """A photo of the tray."""

    path: Path
    thumbnail: str
    """A data URI."""


def add_to_tray(tray: Sequence[TrayPhoto], path: Path, upload: Upload) -> tuple[TrayPhoto, ...]:
    """Add a photo to the tray, unless it is there already or is a sample."""
    if name_sample(path) or path in [photo.path for photo in tray]:
        return tuple(tray)
    small = upload.picture.copy()
    small.thumbnail(_THUMBNAIL_PIXELS)
    return (TrayPhoto(path=path, thumbnail=data_uri(small)), *tray)[:_MOST]


def draw_tray(tray: Sequence[TrayPhoto]) -> str:
    """Return the HTML of a button for each photo; the samples' script handles clicks."""
    if not tray:
        return ""
    buttons = []
    for n, photo in enumerate(tray):
        name = escape(printable(photo.path.name))
        buttons.append(
            f'<li><button type="button" data-sample="{n}" aria-label="{name}" title="{name}">'
            f'<img src="{photo.thumbnail}" alt=""></button></li>'
        )
    return f'<h2>Your photos</h2><ul class="samples tray">{"".join(buttons)}</ul>'


def select_from_tray(tray: Sequence[TrayPhoto], event: gr.EventData) -> Selection:
    """Select the photo of the tray whose index the page sent."""
    number: Any = event_values(event, "sample").get("sample")
    if number not in range(len(tray)):
        raise page_error(EXPIRED)
    return Selection.of(tray[number].path)
