"""The photo a session has selected: an upload or a sample."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from uuid import uuid4

import gradio as gr

from app.controls import Upload, check_upload, event_values, open_photo, page_error
from app.samples import SAMPLES
from captioner import CaptionerError

PHOTO_PIXELS = (1280, 1280)
"""Maximum (height, width) of the photo on the page, in pixels."""
EXPIRED = "The photo has expired; choose it again."
"""Error for a photo that the session no longer has."""


@dataclass(frozen=True, kw_only=True)
class Selection:
    """A selected photo."""

    path: Path
    """Path of a checked upload or of a sample."""
    key: str
    """Unique per selection, even of the same photo."""

    @classmethod
    def of(cls, path: Path) -> Self:
        """Select a photo under a new key."""
        return cls(path=path, key=uuid4().hex)


def select_upload(path: str | None) -> tuple[None, Any]:
    """Select an uploaded photo, and clear the input for the next one."""
    if path is None:
        return None, gr.skip()
    try:
        return None, Selection.of(check_upload(path))
    except CaptionerError as error:
        raise page_error(error) from error


def select_sample(event: gr.EventData) -> Selection:
    """Select the sample whose index the page sent."""
    number: Any = event_values(event, "sample").get("sample")
    if number not in range(len(SAMPLES)):
        raise page_error(f"sample is {number!r}; it must be from 0 to {len(SAMPLES) - 1}.")
    return Selection.of(SAMPLES[number].path)


def open_selection(selected: Selection | None) -> Upload:
    """Read the selected photo.

    Raises:
        CaptionerError: the photo cannot be read, or has expired.
    """
    if selected is None or not selected.path.is_file():
        raise CaptionerError(EXPIRED)
    return open_photo(selected.path, size=PHOTO_PIXELS)
