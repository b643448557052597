"""One photo: its captions, streamed, and where each word came from."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import gradio as gr
from PIL import Image

from app.controls import (
    FORGET_AFTER,
    MODEL_EVENT,
    SAVE_FILE,
    as_message,
    fit,
    model_choice,
    pack,
    photo_input,
    read_upload,
    search_controls,
    search_settings,
)
from app.html import draw_growing, draw_stage, draw_words
from captioner import AttentionConfig, Caption, Captioner, CaptionerError, load_reduced
from captioner.overlay import ColourMap, Style, render

COMPARE = "compare all"
SAMPLES = sorted((Path(__file__).parent.parent / "data" / "samples").glob("*.jpg"))

NAME_SAMPLES = f"""() => {{
  const names = {json.dumps([path.stem for path in SAMPLES])};
  document.querySelectorAll(".gallery-item").forEach((button, n) => {{
    button.setAttribute("aria-label", names[n]);
  }});
}}"""
"""Run when the page is there: Gradio's buttons show the samples, and have no names."""

_PHOTO_PIXELS = (1280, 1280)
"""Height and width that a photo is not reduced below, if it is larger, to be looked at."""
_SCRIPT = Path(__file__).with_name("viewer.js").read_text(encoding="utf-8")
_KEEP_STRENGTH = "(s) => document.documentElement.style.setProperty('--strength', s)"


@dataclass(frozen=True, kw_only=True, eq=False)
class _Shown:
    """What a session has on one side of the page."""

    photo: Image.Image
    captions: tuple[Caption, ...]
    """The caption, then the other candidates of the beam."""


@dataclass(frozen=True, kw_only=True)
class _Viewer:
    """The components that show one model's caption."""

    column: gr.Column
    stage: gr.HTML
    words: gr.HTML
    candidates: gr.Radio
    shown: gr.State

    def outputs(self) -> list[Any]:
        """Everything that a caption changes."""
        return [self.column, self.stage, self.words, self.candidates, self.shown]


def build_single(captioners: Mapping[str, Captioner], file: gr.Textbox) -> None:
    """Caption one photo, and look at it closely."""
    views = list_views(captioners)
    with gr.Row(elem_classes="single"):
        with gr.Column(scale=2, min_width=300, elem_classes="controls"):
            photo = photo_input(
                label="Photo",
                sources=["upload", "clipboard", "webcam"],
                elem_id="photo",
                height=260,
                buttons=[],
            )
            if SAMPLES:
                gr.Examples([[str(path)] for path in SAMPLES], photo, label="Or try one of these")
            model = model_choice(captioners, [COMPARE] if len(captioners) > 1 else [])
            again = gr.Button("Caption again", variant="primary")
            with gr.Accordion("How the sentence is looked for", open=False):
                search = search_controls(captioners)
            with gr.Accordion("How attention is drawn", open=False):
                view = gr.Dropdown(
                    [(name, n) for n, (name, _) in enumerate(views)],
                    value=0,
                    label="Attention",
                    info="The LSTM has one layer and one head.",
                )
                strength = gr.Slider(0, 1, 0.75, step=0.05, label="Strength of the overlay")
                colours = gr.Dropdown(list(get_args(ColourMap)), value="inferno", label="Colours")
        with gr.Column(scale=5, min_width=300), gr.Row():
            viewers = [_build_viewer() for _ in captioners]

    def run(
        path: str | None, choice: str, view: int, colours: ColourMap, *search: Any
    ) -> Iterator[dict[Any, Any]]:
        """Stream the captions of the chosen models, one model after the other."""
        hidden: dict[Any, Any] = {}
        for viewer in viewers:
            hidden |= {viewer.column: gr.Column(visible=False), viewer.stage: "", viewer.words: ""}
            hidden |= {viewer.candidates: gr.Radio(visible=False), viewer.shown: None}
        if path is None:
            yield hidden
            return
        sides = [
            (captioner, viewer)
            for (known, captioner), viewer in zip(captioners.items(), viewers, strict=True)
            if choice in (known, COMPARE)
        ]
        try:
            source, name = read_upload(path)
            picture = fit(load_reduced(source, at_least=_PHOTO_PIXELS, name=name)[0], _PHOTO_PIXELS)
            begun: dict[Any, Any] = {v.column: gr.Column(visible=True) for _, v in sides}
            begun |= {v.stage: draw_stage(picture, title=c.header.name) for c, v in sides}
            yield hidden | begun
            for captioner, viewer in sides:
                prepared = captioner.prepare(source, name=name)
                for caption in captioner.stream(prepared, **search_settings(*search)):
                    growing = choose_view(caption, views[view][1])
                    yield {viewer.words: draw_growing(growing, colours)}
                others = captioner.read_candidates(prepared, caption)
                shown = _Shown(photo=picture, captions=(caption, *others))
                yield {
                    viewer.shown: shown,
                    viewer.words: _draw(shown, 0, views[view][1], colours),
                    viewer.candidates: _list_candidates(shown),
                }
        except CaptionerError as error:
            yield hidden
            raise as_message(error) from error

    def redraw(shown: _Shown | None, candidate: int | None, view: int, colours: ColourMap) -> str:
        return "" if shown is None else _draw(shown, candidate or 0, views[view][1], colours)

    everything = [component for viewer in viewers for component in viewer.outputs()]
    gr.on(
        [photo.change, again.click, model.input],
        run,
        [photo, model, view, colours, *search],
        everything,
        trigger_mode="always_last",
        show_progress="minimal",
        show_progress_on=[viewer.words for viewer in viewers],
        **MODEL_EVENT,
    )
    strength.change(None, strength, js=_KEEP_STRENGTH)
    for viewer in viewers:
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


def _build_viewer() -> _Viewer:
    """Lay out the photo with its overlay, the words and the other candidates."""
    with gr.Column(visible=False, min_width=320, elem_classes="viewer") as column:
        return _Viewer(
            column=column,
            stage=gr.HTML(),
            words=gr.HTML(js_on_load=_SCRIPT),
            candidates=gr.Radio(
                [], label="Candidates of the beam, with log-probability", elem_classes="candidates"
            ),
            shown=gr.State(time_to_live=FORGET_AFTER),
        )


def list_views(captioners: Mapping[str, Captioner]) -> list[tuple[str, AttentionConfig]]:
    """List what attention can be taken from, the usual first."""
    decoders = [captioner.header.model.decoder for captioner in captioners.values()]
    layers = max(getattr(decoder, "layers", 1) for decoder in decoders)
    heads = max(getattr(decoder, "heads", 1) for decoder in decoders)
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


def _draw(shown: _Shown, candidate: int, view: AttentionConfig, colours: ColourMap) -> str:
    caption = choose_view(shown.captions[candidate], view)
    return draw_words(caption, shown.photo, colour_map=colours, key=caption.checkpoint)


def _list_candidates(shown: _Shown) -> gr.Radio:
    """Offer the candidates with their scores, the caption itself chosen."""
    choices = [(f"{c.log_probability:.2f}  {c.text}", n) for n, c in enumerate(shown.captions)]
    return gr.Radio(choices, value=0, visible=len(choices) > 1)


def _add_download(
    kind: str,
    inputs: Sequence[gr.components.Component],
    views: list[tuple[str, AttentionConfig]],
    file: gr.Textbox,
) -> None:
    """Add a button that makes a file of what is shown, and saves it."""

    def write(
        shown: _Shown | None, candidate: int | None, view: int, colours: ColourMap, strength: float
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
