"""Which photo a session looks at: an upload or a sample."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import gradio as gr

from app.controls import Upload, as_message, check_upload, open_photo, values_of
from app.samples import SAMPLES
from captioner import CaptionerError

PHOTO_PIXELS = (1280, 1280)
"""Height and width that a photo to be looked at has to fit into."""


@dataclass(frozen=True, kw_only=True)
class Picked:
    """A photo that was picked."""

    path: Path
    """Of an uploaded file that was checked, or of a sample."""
    key: str
    """Unlike that of every other pick, also of the same photo."""

    @classmethod
    def of(cls, path: Path) -> "Picked":
        """Pick a photo anew."""
        return cls(path=path, key=uuid4().hex)


def take_upload(path: str | None) -> tuple[None, Any]:
    """Pick an uploaded photo, and empty the input it came in, so that the next one has room."""
    if path is None:
        return None, gr.skip()
    try:
        return None, Picked.of(check_upload(path))
    except CaptionerError as error:
        raise as_message(error) from error


def pick_sample(asked: gr.EventData) -> Picked:
    """Pick the sample whose number a page sent."""
    number: Any = values_of(asked, "sample").get("sample")
    if number not in range(len(SAMPLES)):
        raise gr.Error("There is no such sample.", print_exception=False)
    return Picked.of(SAMPLES[number].path)


def open_picked(picked: Picked | None) -> Upload:
    """Read what was picked.

    Raises:
        CaptionerError: it cannot be read, or is no longer there.
    """
    if picked is None or not picked.path.is_file():
        raise CaptionerError("The photo is no longer here; choose it again.")
    return open_photo(picked.path, size=PHOTO_PIXELS)
