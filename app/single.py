"""The tab for one photo: streams its captions and shows the attention of every word."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from app.address import keep_in_address
from app.controls import AT_ONCE, FORGET_AFTER, MODEL_EVENT, folded, model_choice, photo_input
from app.html import draw_alert
from app.live import draw_live, follow_camera
from app.payload import write_script
from app.picking import Picked, open_picked, pick_sample, take_upload
from app.samples import PICK, SAMPLES, draw_samples
from app.search import name_labels, search_inputs, search_settings
from app.together import Together
from app.tray import Kept, draw_tray, keep, pick_kept
from app.viewer import Shown, Viewer, answer_questions, build_viewer, list_views, offer_files
from captioner import Captioner, CaptionerError

COMPARE = "Compare all"

_BUSY = "The app is busy and its queue is full; press “Caption again” in a moment."
_DRAW_LOOK = 'drawLook(element.querySelector(".look"));'


@dataclass(frozen=True, kw_only=True)
class _Layout:
    """The components of the tab."""

    photo: gr.Image
    alert: gr.HTML
    samples: gr.HTML
    live: gr.HTML
    tray: gr.HTML
    model: gr.Radio
    again: gr.Button
    search: dict[str, gr.components.Component]
    viewers: list[Viewer]


def build_single(
    captioners: Mapping[str, Captioner], file: gr.Textbox, app: gr.Blocks
) -> tuple[gr.State, Callable[[Any], None]]:
    """Caption one photo, and look at it closely.

    Returns:
        The photo that is picked, and what makes an event caption it that picked another: it takes
        `success` of that event.
    """
    views = list_views(captioners)
    demo = _caption_demo(next(iter(captioners.values())))
    layout = _lay_out(captioners, demo)
    viewers = layout.viewers

    def chosen(choice: str) -> list[tuple[Captioner, Viewer]]:
        return [
            (captioner, viewer)
            for (known, captioner), viewer in zip(captioners.items(), viewers, strict=True)
            if choice == known or (choice == COMPARE and not isinstance(captioner, Together))
        ]

    def show(picked: Picked | None, choice: str, kept: tuple[Kept, ...]) -> dict[Any, Any]:
        """Show the photo at once; its caption has to wait for its turn."""
        try:
            opened = open_picked(picked)
        except CaptionerError as error:  # without a queue, Gradio shows no error's text
            return {current: None, layout.alert: draw_alert(str(error))}
        assert picked is not None  # else it could not be opened
        picked = Picked.of(picked.path)
        shown = Shown(key=picked.key, path=picked.path)
        kept = keep(kept, picked.path, opened)
        outcome: dict[Any, Any] = {current: picked, layout.alert: "", tray: kept}
        outcome[layout.tray] = draw_tray(kept)
        for viewer in viewers:
            outcome |= viewer.hide()
        for captioner, viewer in chosen(choice):
            outcome |= viewer.open(shown, opened.picture, model=captioner.header.name)
        return outcome

    def run(picked: Picked | None, choice: str, *values: Any) -> Iterator[dict[Any, Any]]:
        """Stream the captions of the chosen models, one model after the other."""
        if picked is None:
            return
        sides = dict(zip((v.view for v in viewers), values, strict=False))
        search = values[len(viewers) :]
        try:
            content, name = picked.path.read_bytes(), picked.path.name
            for captioner, viewer in chosen(choice):
                side = sides[viewer.view]
                prepared = captioner.prepare(content, name=name)
                for caption in captioner.stream(prepared, **search_settings(search)):
                    yield viewer.grow(side, caption)
                others = captioner.read_candidates(prepared, caption)
                yield viewer.fill(replace(side, captions=(caption, *others)))
        except CaptionerError as error:
            yield refuse(picked, choice, name_labels(str(error)))

    def refuse(picked: Picked, choice: str, message: str = _BUSY) -> dict[Any, Any]:
        refused: dict[Any, Any] = {}
        for _, viewer in chosen(choice):
            refused |= viewer.refuse(picked.key, message)
        return refused

    picked = gr.State(Picked(path=SAMPLES[0].path, key=demo.key), time_to_live=FORGET_AFTER)
    current = gr.State(time_to_live=FORGET_AFTER)
    sides, pages = [v.shown for v in viewers], [v.view for v in viewers]
    tray = gr.State((), time_to_live=FORGET_AFTER)
    shown = [current, layout.alert, *(v.column for v in viewers), *pages, *sides, tray, layout.tray]

    def follow(when: Any) -> None:
        opened = when(show, [picked, layout.model, tray], shown, **AT_ONCE)
        running = opened.success(
            run,
            [current, layout.model, *sides, *layout.search.values()],
            [*pages, *sides],
            trigger_mode="always_last",
            show_progress="minimal",
            show_progress_on=pages,
            **MODEL_EVENT,
        )
        running.failure(refuse, [current, layout.model], pages, **AT_ONCE)

    for when in (*_picks(layout, picked, tray), layout.again.click, layout.model.input):
        follow(when)
    follow_camera(layout.live, layout.model, viewers, chosen)
    keep_in_address(app, {"model": layout.model, **layout.search})
    for captioner, viewer in zip(captioners.values(), viewers, strict=True):
        offer_files(viewer, views, file, layout.alert)
        answer_questions(viewer, captioner)
    return picked, follow


def _picks(layout: _Layout, picked: gr.State, tray: gr.State) -> list[Any]:
    """Let photos be picked in all ways there are; return `success` of each."""
    taken = layout.photo.input(take_upload, layout.photo, [layout.photo, picked], **AT_ONCE)
    sampled = layout.samples.pick(pick_sample, None, picked, **AT_ONCE)
    again = layout.tray.pick(pick_kept, tray, picked, **AT_ONCE)
    return [event.success for event in (taken, sampled, again)]


def _lay_out(captioners: Mapping[str, Captioner], demo: Shown) -> _Layout:
    """Place the photo's input, the viewers, and the rest; app.css moves them by the screen."""
    views = list_views(captioners)
    with gr.Row(elem_classes="single"):
        with gr.Column(min_width=300, elem_classes="drop"):
            photo = photo_input(
                label="Photo",
                show_label=False,
                sources=["upload", "clipboard"],
                elem_id="photo",
                height=170,
                buttons=[],
                placeholder="Drop a photo here or click to upload",
            )
            alert = gr.HTML(elem_id="alert", apply_default_css=False)
            live = draw_live()
            tray = gr.HTML(js_on_load=PICK, apply_default_css=False)
        with gr.Column(min_width=300, elem_classes="viewers"), gr.Row():
            viewers = [
                build_viewer(views, None if n else demo, model=name)
                for n, name in enumerate(captioners)
            ]
        with gr.Column(min_width=300, elem_classes="controls"):
            samples = gr.HTML(draw_samples(), js_on_load=PICK, apply_default_css=False)
            model = model_choice(captioners, [COMPARE] if len(captioners) > 1 else [])
            again = gr.Button("Caption again", variant="primary")
            with folded("Attention display"):
                scripts = write_script("elements", "address", "look", views=views)
                gr.HTML(
                    html_template='<div class="look"></div>',
                    apply_default_css=False,
                    js_on_load=f"{scripts}\n{_DRAW_LOOK}",
                )
            with folded("Decoding"):
                search = search_inputs(captioners)
    return _Layout(
        photo=photo,
        alert=alert,
        samples=samples,
        live=live,
        tray=tray,
        model=model,
        again=again,
        search=search,
        viewers=viewers,
    )


def _caption_demo(captioner: Captioner) -> Shown:
    """Caption the sample of a fresh page; that warms the model up, too."""
    picked = Picked(path=SAMPLES[0].path, key="demo")
    prepared = captioner.prepare(picked.path)
    *_, caption = captioner.stream(prepared)
    captions = (caption, *captioner.read_candidates(prepared, caption))
    return Shown(key=picked.key, path=picked.path, captions=captions)
