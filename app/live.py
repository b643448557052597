"""Live from the webcam: frames captioned greedily, the next one once the last is answered."""

import json
from base64 import b64decode
from collections.abc import Callable, Sequence
from typing import Any

import gradio as gr

from app.controls import MODEL_EVENT, values_of
from app.payload import pack_captions, pack_photo, write_script
from app.viewer import Viewer
from captioner import Captioner, CaptionerError, load_reduced

_LARGEST_FRAME = 1_000_000
"""Characters of its data URI."""
_FRAME_PIXELS = (640, 640)
"""Height and width that it has to fit into."""


def draw_live() -> gr.HTML:
    """Draw the button that starts the camera."""
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
    """Show what the camera sees, with its caption, in the viewer of the first chosen model.

    Args:
        live: of `draw_live`.
        model: the choice.
        viewers: all there are.
        choose: the models of a choice, with their viewers.
    """

    def caption_frame(choice: str, asked: gr.EventData) -> dict[Any, Any]:
        frame = str(values_of(asked, "src").get("src"))
        captioner, viewer = choose(choice)[0]
        try:
            if len(frame) > _LARGEST_FRAME:
                raise CaptionerError("the frame is too large.")
            content = b64decode(frame.partition(",")[2])
            photo, _ = load_reduced(content, at_least=_FRAME_PIXELS, name="webcam.jpg")
            photo.thumbnail(_FRAME_PIXELS)
            found = captioner.caption(photo, method="greedy")
        except (CaptionerError, ValueError) as error:
            raise gr.Error(
                f"This frame cannot be captioned: {error}", print_exception=False
            ) from error
        outcome: dict[Any, Any] = {live: json.dumps(values_of(asked, "number"))}
        for other in viewers:
            if other is not viewer:
                outcome |= other.hide()
        name = captioner.header.name
        outcome[viewer.column] = gr.Column(visible=True)
        outcome[viewer.view] = gr.HTML(
            value=json.dumps(pack_captions([found], key="live", kind="live")),
            photo=json.dumps(pack_photo(photo, key="live", model=name)),
        )
        return outcome

    shown = [part for v in viewers for part in (v.column, v.view, v.shown)]
    each: dict[str, Any] = {"show_progress": "hidden", "trigger_mode": "multiple"} | MODEL_EVENT
    answered = live.frame(caption_frame, model, [live, *shown], **each)
    answered.failure(None, None, live, js="() => JSON.stringify({ failed: Date.now() })")
