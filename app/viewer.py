"""One model's caption of one photo: its words, its other candidates, and files of them to save."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from app.controls import FORGET_AFTER, MODEL_EVENT, SAVE_FILE, pack
from app.html import draw_words
from captioner import AttentionConfig, Caption, Captioner, CaptionerError
from captioner.overlay import ColourMap, Style, render

_SCRIPT = Path(__file__).with_name("viewer.js").read_text(encoding="utf-8")

Views = Sequence[tuple[str, AttentionConfig]]
"""What attention can be taken from, by name."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Shown:
    """What a session has on one side of the page."""

    photo: Image.Image
    captions: tuple[Caption, ...]
    """The caption, then the other candidates of the beam."""


@dataclass(frozen=True, kw_only=True)
class Viewer:
    """The components that show one model's caption."""

    column: gr.Column
    stage: gr.HTML
    words: gr.HTML
    candidates: gr.Radio
    shown: gr.State

    def outputs(self) -> list[Any]:
        """Everything that a caption changes."""
        return [self.column, self.stage, self.words, self.candidates, self.shown]

    def empty(self) -> dict[Any, Any]:
        """Show nothing."""
        return {
            self.column: gr.Column(visible=False),
            self.stage: "",
            self.words: "",
            self.candidates: gr.Radio(visible=False),
            self.shown: None,
        }

    def full(self, shown: Shown, view: AttentionConfig, colours: ColourMap) -> dict[Any, Any]:
        """Show a caption, and offer the candidates with their scores."""
        choices = [(f"{c.log_probability:.2f}  {c.text}", n) for n, c in enumerate(shown.captions)]
        return {
            self.shown: shown,
            self.words: _draw(shown, 0, view, colours),
            self.candidates: gr.Radio(choices, value=0, visible=len(choices) > 1),
        }


def build_viewer() -> Viewer:
    """Lay out the photo with its overlay, the words and the other candidates."""
    with gr.Column(visible=False, min_width=320, elem_classes="viewer") as column:
        return Viewer(
            column=column,
            stage=gr.HTML(),
            words=gr.HTML(js_on_load=_SCRIPT),
            candidates=gr.Radio(
                [], label="Candidates of the beam, with log-probability", elem_classes="candidates"
            ),
            shown=gr.State(time_to_live=FORGET_AFTER),
        )


def connect(
    viewer: Viewer,
    views: Views,
    *,
    view: gr.Dropdown,
    colours: gr.Dropdown,
    strength: gr.Slider,
    file: gr.Textbox,
) -> None:
    """Draw anew what is shown when another candidate, view or colour is chosen; offer files."""

    def redraw(shown: Shown | None, candidate: int | None, view: int, colours: ColourMap) -> str:
        return "" if shown is None else _draw(shown, candidate or 0, views[view][1], colours)

    look = [viewer.shown, viewer.candidates, view, colours]
    gr.on(
        [viewer.candidates.input, view.input, colours.input],
        redraw,
        look,
        viewer.words,
        show_progress="hidden",
        **MODEL_EVENT,
    )
    with viewer.column, gr.Row(elem_classes="downloads"):
        for kind in ("png", "gif", "html", "json"):
            _add_download(kind, [*look, strength], views, file)


def list_views(captioners: Mapping[str, Captioner]) -> Views:
    """List what attention can be taken from, the usual first."""
    decoders = [captioner.header.model.decoder for captioner in captioners.values()]
    layers = max(decoder.layers for decoder in decoders)
    heads = max(decoder.heads for decoder in decoders)
    views = [("last layer", AttentionConfig())]
    if layers * heads > 1:
        views += [
            ("mean over the layers", AttentionConfig(method="mean")),
            ("rolled out through the layers", AttentionConfig(method="rollout")),
        ]
        for layer in range(1, layers + 1):
            views.append((f"layer {layer}", AttentionConfig(layer=layer)))
            views += [
                (f"layer {layer}, head {head}", AttentionConfig(layer=layer, head=head))
                for head in range(1, heads + 1)
            ]
    return views


def choose_view(caption: Caption, view: AttentionConfig) -> Caption:
    """Show other attention; the usual where the model has no such layer or head."""
    try:
        return caption.with_view(view)
    except CaptionerError:
        return caption


def _draw(shown: Shown, candidate: int, view: AttentionConfig, colours: ColourMap) -> str:
    caption = choose_view(shown.captions[candidate], view)
    return draw_words(caption, shown.photo, colour_map=colours, key=caption.checkpoint)


def _add_download(
    kind: str, inputs: Sequence[gr.components.Component], views: Views, file: gr.Textbox
) -> None:
    """Add a button that makes a file of what is shown, and saves it."""

    def write(
        shown: Shown | None, candidate: int | None, view: int, colours: ColourMap, strength: float
    ) -> str:
        if shown is None:
            raise gr.Error("Wait for the caption first.", print_exception=False)
        caption = choose_view(shown.captions[candidate or 0], views[view][1])
        if kind == "json":
            content = json.dumps(caption.to_dict(), indent=1).encode()
        else:
            style = Style(colour_map=colours, alpha=float(strength))
            content = render(shown.photo, caption, kind=kind, style=style)
        return pack(f"caption.{kind}", content)

    button = gr.Button(f"Save {kind.upper()}", size="sm")
    button.click(write, inputs, file, show_progress="minimal", **MODEL_EVENT).then(
        None, file, js=SAVE_FILE
    )
