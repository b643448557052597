"""The photo a session has selected: an upload or a sample."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import gradio as gr

from app.controls import Upload, as_message, check_upload, open_photo, values_of
from app.samples import SAMPLES
from captioner import CaptionerError

PHOTO_PIXELS = (1280, 1280)
"""Maximum (height, width) of the photo on the page, in pixels."""


@dataclass(frozen=True, kw_only=True)
class Picked:
    """A selected photo."""

    path: Path
    """Path of a checked upload or of a sample."""
    key: str
    """Unique per selection, even of the same photo."""

    @classmethod
    def of(cls, path: Path) -> "Picked":
        """Select a photo under a new key."""
        return cls(path=path, key=uuid4().hex)


def take_upload(path: str | None) -> tuple[None, Any]:
    """Select an uploaded photo, and clear the input for the next one."""
    if path is None:
        return None, gr.skip()
    try:
        return None, Picked.of(check_upload(path))
    except CaptionerError as error:
        raise as_message(error) from error


def pick_sample(asked: gr.EventData) -> Picked:
    """Select the sample whose index the page sent."""
    number: Any = values_of(asked, "sample").get("sample")
    if number not in range(len(SAMPLES)):
        raise gr.Error("There is no such sample.", print_exception=False)
    return Picked.of(SAMPLES[number].path)


def open_picked(picked: Picked | None) -> Upload:
    """Read the selected photo.

    Raises:
        CaptionerError: the photo cannot be read, or no longer exists.
    """
    if picked is None or not picked.path.is_file():
        raise CaptionerError("The photo is no longer here; choose it again.")
    return open_photo(picked.path, size=PHOTO_PIXELS)
