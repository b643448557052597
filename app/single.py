"""One photo: its captions, streamed, and where each word came from."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, get_args

import gradio as gr

from app.controls import MODEL_EVENT, as_message, model_choice, open_upload, photo_input
from app.html import draw_growing, draw_stage, draw_welcome
from app.search import search_inputs, search_settings
from app.viewer import Shown, build_viewer, choose_view, connect, list_views
from captioner import Captioner, CaptionerError
from captioner.overlay import ColourMap

COMPARE = "compare all"
SAMPLES = sorted((Path(__file__).parent.parent / "data" / "samples").glob("*.jpg"))

ON_LOAD = f"""() => {{
  const names = {json.dumps([path.stem for path in SAMPLES])};
  document.querySelectorAll(".gallery-item").forEach((button, n) => {{
    button.setAttribute("aria-label", names[n]);
  }});
  const show = (visibility) => (event) => {{
    if (event.target.closest?.("#photo img")) event.target.style.visibility = visibility;
  }};
  document.addEventListener("error", show("hidden"), true);
  document.addEventListener("load", show("visible"), true);
}}"""
"""Run when the page is there: Gradio's buttons that show the samples have no names, and a photo
that browsers cannot read, such as a TIFF, would be shown as a broken one."""

_PHOTO_PIXELS = (1280, 1280)
"""Height and width that a photo to be looked at has to fit into."""
_SHOW_IF_THERE_IS_ONE = "(photo) => ({ __type__: 'update', visible: Boolean(photo) })"
_KEEP_STRENGTH = "(s) => document.documentElement.style.setProperty('--strength', s)"


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
            with gr.Accordion("How the sentence is looked for", open=False):
                search = search_inputs(captioners)
            with gr.Accordion("How attention is drawn", open=False):
                view = gr.Dropdown(
                    [(name, n) for n, (name, _) in enumerate(views)],
                    value=0,
                    label="Attention",
                    info="The LSTM has one layer and one head.",
                )
                strength = gr.Slider(0, 1, 0.75, step=0.05, label="Strength of the overlay")
                colours = gr.Dropdown(list(get_args(ColourMap)), value="inferno", label="Colours")
            again = gr.Button("Caption again", variant="primary", visible=False)
        with gr.Column(scale=5, min_width=300):
            welcome = gr.HTML(draw_welcome())
            with gr.Row():
                viewers = [build_viewer() for _ in captioners]

    def run(
        path: str | None, choice: str, view: int, colours: ColourMap, *search: Any
    ) -> Iterator[dict[Any, Any]]:
        """Stream the captions of the chosen models, one model after the other."""
        hidden: dict[Any, Any] = {welcome: gr.HTML(visible=True)}
        for viewer in viewers:
            hidden |= viewer.empty()
        if path is None:
            yield hidden
            return
        sides = [
            (captioner, viewer)
            for (known, captioner), viewer in zip(captioners.items(), viewers, strict=True)
            if choice in (known, COMPARE)
        ]
        chosen = views[view][1]
        try:
            upload = open_upload(path, size=_PHOTO_PIXELS)
            begun: dict[Any, Any] = {welcome: gr.HTML(visible=False)}
            begun |= {v.column: gr.Column(visible=True) for _, v in sides}
            begun |= {v.stage: draw_stage(upload.picture, title=c.header.name) for c, v in sides}
            yield hidden | begun
            for captioner, viewer in sides:
                prepared = captioner.prepare(upload.content, name=upload.name)
                for caption in captioner.stream(prepared, **search_settings(search)):
                    growing = draw_growing(choose_view(caption, chosen), colours)
                    yield {viewer.words: growing}
                others = captioner.read_candidates(prepared, caption)
                shown = Shown(photo=upload.picture, captions=(caption, *others))
                yield viewer.full(shown, chosen, colours)
        except CaptionerError as error:
            yield hidden | {photo: None}
            raise as_message(error) from error

    everything = [component for viewer in viewers for component in viewer.outputs()]
    photo.change(None, photo, again, js=_SHOW_IF_THERE_IS_ONE)
    gr.on(
        [photo.change, again.click, model.input],
        run,
        [photo, model, view, colours, *search],
        [photo, welcome, *everything],
        trigger_mode="always_last",
        show_progress="minimal",
        show_progress_on=[viewer.words for viewer in viewers],
        **MODEL_EVENT,
    )
    strength.change(None, strength, js=_KEEP_STRENGTH)
    for viewer in viewers:
        connect(viewer, views, view=view, colours=colours, strength=strength, file=file)
