"""Shared parts of the app: inputs, errors and downloads."""

import json
import os
from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from html import escape
from pathlib import Path
from tempfile import gettempdir
from threading import BoundedSemaphore
from typing import Any

import gradio as gr
from PIL import Image

from captioner import Caption, Captioner, CaptionerError, load_reduced
from captioner.overlay import Style, render

SESSION_TIMEOUT = 3600
"""Seconds after which an unused photo is dropped."""

_LONGEST_NAME = 100
"""Maximum length of a file name in error messages, in characters."""

MODEL_EVENT: dict[str, Any] = {
    "concurrency_id": "model",
    "concurrency_limit": 1,
    "api_visibility": "private",
}
"""Options of every event that runs the model: one at a time, and not part of the public API."""

UNQUEUED: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
"""Options of every event that does not run the model and so bypasses the queue."""

_DRAWING = BoundedSemaphore(2)
"""Limits how many images are decoded or drawn in parallel, since they take much memory."""

_FETCH = "async_move_resource_to_block_cache"
_fetch = getattr(gr.Image, _FETCH, None)

SAVE_FILE = """(file) => {
  if (!file) return;
  const link = document.createElement("a");
  [link.download, link.href] = JSON.parse(file);
  link.click();
}"""


def event_values(event: gr.EventData, *names: str) -> dict[str, Any]:
    """Return the values sent with an event; missing ones are omitted."""
    found = {}
    for name in names:
        with suppress(AttributeError, TypeError):  # not sent
            found[name] = getattr(event, name)
    return found


def photo_input(**options: Any) -> gr.Image:
    """Create an image input that passes the original file, even if Gradio cannot open it."""
    # Patches the class, since Gradio recreates components from their class for sessions that have
    # changed one. A subclass would also work, but Gradio writes a stub file beside each. See
    # docs/private_names.md.
    gr.Image.preprocess = _pass_path  # type: ignore[method-assign]
    if _fetch is not None:
        setattr(gr.Image, _FETCH, _fetch_or_explain)
    return gr.Image(type="filepath", image_mode=None, **options)


def _pass_path(self: gr.Image, payload: Any) -> str | None:
    return None if payload is None else payload.path


async def _fetch_or_explain(self: gr.Image, address: str | Path | None) -> str | None:
    assert _fetch is not None
    try:
        fetched: str | None = await _fetch(self, address)
        return fetched
    except Exception as error:  # network error, server error, or refused address
        name, reason = str(address)[:_LONGEST_NAME], str(error) or type(error).__name__
        message = f"{name}: cannot be fetched ({reason}); give the public address of an image."
        raise page_error(message) from error


def model_choice(captioners: Mapping[str, Captioner], more: Sequence[str]) -> gr.Radio:
    """Create the model selector; `more` options follow the models."""
    return gr.Radio([*captioners, *more], value=next(iter(captioners)), label="Model")


@contextmanager
def accordion(title: str) -> Iterator[None]:
    """Lay out inputs in a collapsible section.

    Unlike in Gradio's accordion, which creates its inputs on opening, early typing is not lost.
    """
    with gr.Column(elem_classes="accordion", min_width=300):
        gr.HTML(f"<details><summary>{title}</summary></details>", apply_default_css=False)
        with gr.Column(elem_classes="accordion-body"):
            yield


@dataclass(frozen=True, kw_only=True, eq=False)
class Upload:
    """An uploaded photo."""

    name: str
    """Name of the user's file."""
    content: bytes
    picture: Image.Image
    """Preview of the photo."""


def open_upload(path: str | Path, *, size: tuple[int, int]) -> Upload:
    """Read an uploaded photo, and create a preview.

    Args:
        path: path of an uploaded file.
        size: maximum (height, width) of the preview in pixels.

    Raises:
        CaptionerError: the file was not uploaded, or is not a photo.
    """
    return open_photo(check_upload(path), size=size)


def open_photo(file: Path, *, size: tuple[int, int]) -> Upload:
    """Read a photo, and create a preview; arguments and errors as in `open_upload`."""
    content, name = file.read_bytes(), file.name
    with _DRAWING:
        picture, _ = load_reduced(content, at_least=size, name=name)
        picture.thumbnail(size[::-1], Image.Resampling.LANCZOS, reducing_gap=3)
    return Upload(name=name, content=content, picture=picture)


def read_upload(path: str | Path) -> tuple[bytes, str]:
    """Return the content and the name of an uploaded file.

    Raises:
        CaptionerError: the file was not uploaded.
    """
    file = check_upload(path)
    return file.read_bytes(), file.name


def check_upload(path: str | Path) -> Path:
    """Check that a path is an uploaded file.

    Gradio checks only paths that are marked as files and passes others on.

    Raises:
        CaptionerError: the file was not uploaded.
    """
    file = Path(path).resolve()
    uploads = os.environ.get("GRADIO_TEMP_DIR") or Path(gettempdir(), "gradio")
    if not (file.is_relative_to(Path(uploads).resolve()) and file.is_file()):
        name = Path(path).name[:_LONGEST_NAME]
        raise CaptionerError(f"{name}: not an uploaded file; upload it first.")
    return file


def draw_file(photo: Image.Image, caption: Caption, *, kind: str, style: Style) -> bytes:
    """Render a caption with its overlays to a file; arguments and errors as in `render`."""
    with _DRAWING:
        return render(photo, caption, kind=kind, style=style)


def pack_download(name: str, content: bytes) -> str:
    """Pack a file for `SAVE_FILE` as a data URI, so that it is never stored on the server."""
    return json.dumps([name, f"data:application/octet-stream;base64,{b64encode(content).decode()}"])


def page_error(error: Exception | str) -> gr.Error:
    """Convert an error to a message on the page, without a traceback on the server's console."""
    return gr.Error(escape(str(error), quote=False), print_exception=False)
