"""What several parts of the app share: inputs, errors, and files on their way to the browser."""

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

FORGET_AFTER = 3600
"""Seconds after which a photo nobody has touched is dropped."""

_LONGEST_NAME = 100
"""Letters of a name that are sent back to whom it came from."""

MODEL_EVENT: dict[str, Any] = {
    "concurrency_id": "model",
    "concurrency_limit": 1,
    "api_visibility": "private",
}
"""Of every event that runs the model: they take turns, and programs do not see them."""

AT_ONCE: dict[str, Any] = {"queue": False, "show_progress": "hidden", "api_visibility": "private"}
"""Of every event that does not run the model, and so does not wait for other people's captions."""

_DRAWING = BoundedSemaphore(2)
"""Pictures are large: only so many are read or drawn at the same time, beside the model's."""

_FETCH = "async_move_resource_to_block_cache"
_fetch = getattr(gr.Image, _FETCH, None)

SAVE_FILE = """(file) => {
  if (!file) return;
  const link = document.createElement("a");
  [link.download, link.href] = JSON.parse(file);
  link.click();
}"""


def values_of(asked: gr.EventData, *names: str) -> dict[str, Any]:
    """Values that a page sent with an event; those that it left out are missing."""
    found = {}
    for name in names:
        with suppress(AttributeError, TypeError):  # it sent others, or none
            found[name] = getattr(asked, name)
    return found


def photo_input(**options: Any) -> gr.Image:
    """Take a photo as the file it comes in, also where Gradio could not open it."""
    # Of the class, since Gradio makes components anew, from their class, for sessions that have
    # changed one. A subclass would do, but Gradio writes a stub file beside the module of each.
    # See docs/private_names.md.
    gr.Image.preprocess = _pass_on  # type: ignore[method-assign]
    if _fetch is not None:
        setattr(gr.Image, _FETCH, _fetch_or_explain)
    return gr.Image(type="filepath", image_mode=None, **options)


def _pass_on(self: gr.Image, payload: Any) -> str | None:
    return None if payload is None else payload.path


async def _fetch_or_explain(self: gr.Image, address: str | Path | None) -> str | None:
    assert _fetch is not None
    try:
        fetched: str | None = await _fetch(self, address)
        return fetched
    except Exception as error:  # of the network, of its server, or the address is refused
        name, reason = str(address)[:_LONGEST_NAME], str(error) or type(error).__name__
        message = f"{name}: cannot be fetched ({reason}); give the public address of an image."
        raise as_message(CaptionerError(message)) from error


def model_choice(captioners: Mapping[str, Captioner], more: Sequence[str]) -> gr.Radio:
    """Offer the models, and what else may be chosen in their place."""
    return gr.Radio([*captioners, *more], value=next(iter(captioners)), label="Model")


@contextmanager
def folded(title: str) -> Iterator[None]:
    """Lay out inputs that are shown when their title is opened.

    They are there from the start: Gradio's accordion would put them together when it is opened, and
    lose what is typed meanwhile.
    """
    with gr.Column(elem_classes="folder", min_width=300):
        gr.HTML(f"<details><summary>{title}</summary></details>", apply_default_css=False)
        with gr.Column(elem_classes="folded"):
            yield


@dataclass(frozen=True, kw_only=True, eq=False)
class Upload:
    """A photo that a user gave."""

    name: str
    """The file as the user called it."""
    content: bytes
    picture: Image.Image
    """Small enough to be looked at."""


def open_upload(path: str | Path, *, size: tuple[int, int]) -> Upload:
    """Read an uploaded photo, and make a picture of it to look at.

    Args:
        path: of an uploaded file.
        size: height and width that the picture has to fit into.

    Raises:
        CaptionerError: the file was not uploaded, or is no photo.
    """
    return open_photo(check_upload(path), size=size)


def open_photo(file: Path, *, size: tuple[int, int]) -> Upload:
    """Read a photo, and make a picture of it to look at; arguments and errors as above."""
    content, name = file.read_bytes(), file.name
    with _DRAWING:
        picture, _ = load_reduced(content, at_least=size, name=name)
        picture.thumbnail(size[::-1], Image.Resampling.LANCZOS, reducing_gap=3)
    return Upload(name=name, content=content, picture=picture)


def read_upload(path: str | Path) -> tuple[bytes, str]:
    """Return an uploaded file, and what its user called it.

    Raises:
        CaptionerError: the file was not uploaded.
    """
    file = check_upload(path)
    return file.read_bytes(), file.name


def check_upload(path: str | Path) -> Path:
    """Return the path of an uploaded file.

    Gradio checks paths that come marked as files; one that comes without the mark, it passes on.

    Raises:
        CaptionerError: the file was not uploaded.
    """
    file = Path(path).resolve()
    uploads = os.environ.get("GRADIO_TEMP_DIR") or Path(gettempdir(), "gradio")
    if not (file.is_relative_to(Path(uploads).resolve()) and file.is_file()):
        name = Path(path).name[:_LONGEST_NAME]
        raise CaptionerError(f"{name}: it was not uploaded; upload it.")
    return file


def draw_file(photo: Image.Image, caption: Caption, *, kind: str, style: Style) -> bytes:
    """Draw the overlays of a caption as a file; arguments and errors as of `render`."""
    with _DRAWING:
        return render(photo, caption, kind=kind, style=style)


def pack(name: str, content: bytes) -> str:
    """Prepare a file for `SAVE_FILE`: it reaches its user without lying on the server."""
    return json.dumps([name, f"data:application/octet-stream;base64,{b64encode(content).decode()}"])


def as_message(error: CaptionerError) -> gr.Error:
    """Show a user's mistake on the page; its text is the whole answer."""
    return gr.Error(escape(str(error), quote=False), print_exception=False)
