"""The tab for one photo: streams its captions and shows the attention of every word."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr

from app.address import keep_in_address
from app.controls import (
    MODEL_EVENT,
    SESSION_TIMEOUT,
    UNQUEUED,
    accordion,
    model_choice,
    photo_input,
)
from app.ensemble import LazyEnsemble
from app.html import draw_alert
from app.live import draw_live, follow_camera
from app.payload import write_script
from app.samples import PICK, SAMPLES, draw_samples
from app.search import name_labels, search_inputs, search_settings
from app.selection import Selection, open_selection, select_sample, select_upload
from app.tray import TrayPhoto, add_to_tray, draw_tray, select_from_tray
from app.viewer import (
    Captioned,
    Viewer,
    build_viewer,
    handle_downloads,
    handle_questions,
    list_views,
)
from captioner import Captioner, CaptionerError

COMPARE = "Compare all"

_BUSY = "The app is busy and its queue is full; press “Caption again” in a moment."
_DRAW_DISPLAY = 'drawDisplay(element.querySelector(".display"));'


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
    """Caption one photo, and show the attention of every word.

    Returns:
        The selected photo, and a function that captions it after an event; it takes `success` of
        the event that selects.
    """
    views = list_views(captioners)
    demo = _caption_demo(next(iter(captioners.values())))
    layout = _lay_out(captioners, demo)
    viewers = layout.viewers

    def chosen(choice: str) -> list[tuple[Captioner, Viewer]]:
        return [
            (captioner, viewer)
            for (name, captioner), viewer in zip(captioners.items(), viewers, strict=True)
            if choice == name or (choice == COMPARE and not isinstance(captioner, LazyEnsemble))
        ]

    def show(
        selected: Selection | None, choice: str, photos: tuple[TrayPhoto, ...]
    ) -> dict[Any, Any]:
        """Show the photo immediately, before its caption is queued."""
        try:
            upload = open_selection(selected)
        except CaptionerError as error:  # Gradio hides errors of events without a queue
            return {current: None, layout.alert: draw_alert(str(error))}
        assert selected is not None  # else it could not be opened
        waiting = Captioned.of(selected.path)
        photos = add_to_tray(photos, selected.path, upload)
        updates = {
            current: waiting,
            layout.alert: "",
            tray: photos,
            layout.tray: draw_tray(photos),
        }
        for viewer in viewers:
            updates |= viewer.hide()
        for captioner, viewer in chosen(choice):
            updates |= viewer.open(waiting, upload.picture, model=captioner.header.name)
        return updates

    def run(selected: Captioned | None, choice: str, *settings: Any) -> Iterator[dict[Any, Any]]:
        """Stream the captions of the chosen models, one model after the other."""
        if selected is None:
            return
        try:
            content, name = selected.path.read_bytes(), selected.path.name
            for captioner, viewer in chosen(choice):
                prepared = captioner.prepare(content, name=name)
                for caption in captioner.stream(prepared, **search_settings(settings)):
                    yield viewer.show_partial(selected.key, caption)
                others = captioner.read_candidates(prepared, caption)
                yield viewer.show(replace(selected, captions=(caption, *others)))
        except CaptionerError as error:
            yield fail(selected, choice, name_labels(str(error)))

    def fail(selected: Selection, choice: str, message: str = _BUSY) -> dict[Any, Any]:
        updates: dict[Any, Any] = {}
        for _, viewer in chosen(choice):
            updates |= viewer.fail(selected.key, message)
        return updates

    selected = gr.State(Selection(path=SAMPLES[0].path, key=demo.key), time_to_live=SESSION_TIMEOUT)
    current = gr.State(time_to_live=SESSION_TIMEOUT)
    tray = gr.State((), time_to_live=SESSION_TIMEOUT)
    columns, pages = [v.column for v in viewers], [v.page for v in viewers]
    states = [v.state for v in viewers]
    shown = [current, layout.alert, tray, layout.tray, *columns, *pages, *states]

    def follow(select: Any) -> None:
        opened = select(show, [selected, layout.model, tray], shown, **UNQUEUED)
        running = opened.success(
            run,
            [current, layout.model, *layout.search.values()],
            [*pages, *states],
            trigger_mode="always_last",
            show_progress="minimal",
            show_progress_on=pages,
            **MODEL_EVENT,
        )
        running.failure(fail, [current, layout.model], pages, **UNQUEUED)

    for select in (*_selections(layout, selected, tray), layout.again.click, layout.model.input):
        follow(select)
    follow_camera(layout.live, layout.model, viewers, chosen)
    keep_in_address(app, {"model": layout.model, **layout.search})
    for captioner, viewer in zip(captioners.values(), viewers, strict=True):
        handle_downloads(viewer, views, file, layout.alert)
        handle_questions(viewer, captioner)
    return selected, follow


def _selections(layout: _Layout, selected: gr.State, tray: gr.State) -> list[Any]:
    """Return `success` of every event that selects a photo."""
    uploaded = layout.photo.input(select_upload, layout.photo, [layout.photo, selected], **UNQUEUED)
    sampled = layout.samples.pick(select_sample, None, selected, **UNQUEUED)
    again = layout.tray.pick(select_from_tray, tray, selected, **UNQUEUED)
    return [event.success for event in (uploaded, sampled, again)]


def _lay_out(captioners: Mapping[str, Captioner], demo: Captioned) -> _Layout:
    """Lay out the upload, the viewers and the controls; app.css adapts them to the screen."""
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
            with accordion("Attention display"):
                scripts = write_script("elements", "address", "display", views=views)
                gr.HTML(
                    html_template='<div class="display"></div>',
                    apply_default_css=False,
                    js_on_load=f"{scripts}\n{_DRAW_DISPLAY}",
                )
            with accordion("Decoding"):
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


def _caption_demo(captioner: Captioner) -> Captioned:
    """Caption the sample of a fresh page, which also warms the model up."""
    path = SAMPLES[0].path
    prepared = captioner.prepare(path)
    *_, caption = captioner.stream(prepared)
    captions = (caption, *captioner.read_candidates(prepared, caption))
    return Captioned(key="demo", path=path, captions=captions)
