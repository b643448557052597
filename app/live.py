"""Live webcam captions by greedy search, one frame in flight at a time."""

import json
from base64 import b64decode
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from app.controls import MODEL_EVENT, event_values, page_error
from app.payload import pack_captions, pack_photo, write_script
from app.viewer import Viewer
from captioner import Captioner, CaptionerError, load_reduced

_LARGEST_FRAME = 1_000_000
"""Maximum length of a frame's data URI, in characters."""
_FRAME_PIXELS = (640, 640)
"""Maximum (height, width) of a frame, in pixels."""


def draw_live() -> gr.HTML:
    """Create the button that starts the camera."""
    return gr.HTML(
        html_template='<div class="live"></div>',
        apply_default_css=False,
        js_on_load=write_script("elements", "live"),
    )


def follow_camera(
    live: gr.HTML,
    model: gr.Radio,
    viewers: Sequence[Viewer],
    choose: Callable[[str], list[tuple[Captioner, Viewer]]],
) -> None:
    """Show captioned camera frames in the viewer of the first chosen model.

    Args:
        live: component of `draw_live`.
        model: the model selector.
        viewers: all viewers.
        choose: returns the models of a choice with their viewers.
    """

    def caption_frame(choice: str, event: gr.EventData) -> dict[Any, Any]:
        frame = str(event_values(event, "src").get("src"))
        captioner, viewer = choose(choice)[0]
        try:
            if len(frame) > _LARGEST_FRAME:
                raise CaptionerError(f"it is longer than {_LARGEST_FRAME} characters.")
            content = b64decode(frame.partition(",")[2])
            photo, _ = load_reduced(content, at_least=_FRAME_PIXELS, name="webcam.jpg")
            photo.thumbnail(_FRAME_PIXELS)
            found = captioner.caption(photo, method="greedy")
        except (CaptionerError, ValueError) as error:
            raise page_error(f"Cannot caption this frame: {error}") from error
        updates: dict[Any, Any] = {live: json.dumps(event_values(event, "number"))}
        for other in viewers:
            if other is not viewer:
                updates |= other.hide()
        name = captioner.header.name
        updates[viewer.column] = gr.Column(visible=True)
        updates[viewer.page] = gr.HTML(
            value=json.dumps(pack_captions([found], key="live", kind="live")),
            photo=json.dumps(pack_photo(photo, key="live", model=name)),
        )
        return updates

    shown = [part for v in viewers for part in (v.column, v.page, v.state)]
    each: dict[str, Any] = {"show_progress": "hidden", "trigger_mode": "multiple"} | MODEL_EVENT
    answered = live.frame(caption_frame, model, [live, *shown], **each)
    answered.failure(None, None, live, js="() => JSON.stringify({ failed: Date.now() })")
