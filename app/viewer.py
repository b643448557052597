"""One model's caption of one photo: what the page shows, and downloads of it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
from PIL import Image

from app.controls import (
    MODEL_EVENT,
    SAVE_FILE,
    SESSION_TIMEOUT,
    UNQUEUED,
    draw_file,
    event_values,
    pack_download,
    page_error,
)
from app.html import draw_alert
from app.occlusion import occlude
from app.payload import (
    Views,
    data_uri,
    pack_caption,
    pack_captions,
    pack_photo,
    printable,
    write_script,
)
from app.samples import name_sample, read_annotations
from app.selection import EXPIRED, Selection, open_selection
from captioner import AttentionConfig, Caption, Captioner, CaptionerError
from captioner.overlay import Style

_SCRIPTS = (
    *("elements", "address", "attention", "display", "sentence", "stage", "bar"),
    *("heads", "timeline", "candidates", "scoring", "annotations", "occlusion", "viewer"),
)
_LONGEST_SENTENCE = 300
"""Maximum length of the user's sentence, in characters."""
_PAINTED_PIXELS = (320, 320)
"""Maximum (height, width) of the painted photo on the page, in pixels."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Captioned(Selection):
    """A selected photo and one model's captions of it, kept for the session."""

    captions: tuple[Caption, ...] = ()
    """The caption, the other candidates of the beam, then the user's sentences."""


@dataclass(frozen=True, kw_only=True)
class Viewer:
    """The components that show one model's caption; its methods return updates of them."""

    column: gr.Column
    page: gr.HTML
    state: gr.State
    """A `Captioned`, or None."""

    def hide(self) -> dict[Any, Any]:
        """Hide the viewer."""
        return {
            self.column: gr.Column(visible=False),
            self.page: gr.HTML(value=None, photo=None),
            self.state: None,
        }

    def open(self, selected: Captioned, photo: Image.Image, *, model: str) -> dict[Any, Any]:
        """Show the preview of a photo that waits for its caption."""
        return {
            self.column: gr.Column(visible=True),
            self.page: gr.HTML(
                value=json.dumps({"kind": "waiting", "key": selected.key}),
                photo=_pack(selected, photo, model),
            ),
            self.state: selected,
        }

    def show_partial(self, key: str, caption: Caption) -> dict[Any, Any]:
        """Show a caption while it is generated."""
        return self.send(pack_captions([caption], key=key, kind="partial"))

    def show(self, captioned: Captioned) -> dict[Any, Any]:
        """Show the finished captions."""
        page = pack_captions(captioned.captions, key=captioned.key)
        return {self.state: captioned, **self.send(page)}

    def fail(self, key: str, message: str, *, kind: str = "failed") -> dict[Any, Any]:
        """Show why a photo has no caption, or why a sentence was `rejected`."""
        return self.send({"kind": kind, "key": key, "message": message})

    def send(self, content: dict[str, Any]) -> dict[Any, Any]:
        """Send JSON to the viewer's script."""
        return {self.page: gr.HTML(value=json.dumps(content))}


def build_viewer(views: Views, demo: Captioned | None = None, *, model: str) -> Viewer:
    """Lay out the photo with its overlay and its caption.

    Args:
        views: attention views to choose from.
        demo: shown and played on a fresh page.
        model: name of the model.
    """
    value = demo and json.dumps(pack_captions(demo.captions, key=demo.key))
    photo = demo and _pack(demo, open_selection(demo).picture, model)
    with gr.Column(visible=demo is not None, min_width=320) as column:
        page = gr.HTML(
            value,
            html_template='<div class="here"></div>',
            apply_default_css=False,
            js_on_load=write_script(*_SCRIPTS, views=views),
            photo=photo,
        )
    return Viewer(column=column, page=page, state=gr.State(demo, time_to_live=SESSION_TIMEOUT))


def _pack(selected: Selection, photo: Image.Image, model: str) -> str:
    sample = name_sample(selected.path)
    annotations = read_annotations(sample)
    return json.dumps(
        pack_photo(photo, key=selected.key, model=model, sample=sample, annotations=annotations)
    )


def handle_questions(viewer: Viewer, captioner: Captioner) -> None:
    """Score the user's sentences, and captions of the photo with a region painted out."""

    # Gradio derives API names from these functions, so they differ from the public endpoints.
    def score_own(captioned: Captioned | None, event: gr.EventData) -> dict[Any, Any]:
        if captioned is None or not captioned.path.is_file():
            raise page_error(EXPIRED)
        asked = event_values(event, "complete", "rivals", "text")
        score = captioner.complete if asked.get("complete") else captioner.read_sentence
        try:
            prepared = captioner.prepare(captioned.path.read_bytes(), name=captioned.path.name)
            scored = score(prepared, str(asked.get("text") or "")[:_LONGEST_SENTENCE])
        except CaptionerError as error:
            return viewer.fail(captioned.key, str(error), kind="rejected")
        if scored.text not in [caption.text for caption in captioned.captions]:
            captioned = replace(captioned, captions=(*captioned.captions, scored))
        kind = "rivals" if asked.get("rivals") else "scored"
        page = pack_captions([scored], key=captioned.key, kind=kind)
        return {viewer.state: captioned, **viewer.send(page)}

    def occlude_region(captioned: Captioned | None, event: gr.EventData) -> dict[Any, Any]:
        if captioned is None:
            raise page_error(EXPIRED)
        asked = event_values(event, "box", "candidate")
        try:
            top, left, bottom, right = map(float, asked["box"])
            text = captioned.captions[int(asked["candidate"])].text
            photo = open_selection(captioned).picture
            found = occlude(captioner, photo, text, (top, left, bottom, right))
        except (CaptionerError, IndexError, KeyError, TypeError, ValueError) as error:
            raise page_error(f"Cannot paint out: {error}") from error
        found.painted.thumbnail(_PAINTED_PIXELS)
        occluded = {
            "src": data_uri(found.painted),
            "text": printable(found.recaptioned.text),
            "rescored": pack_caption(found.rescored),
        }
        page = {"kind": "occluded", "key": captioned.key, "text": printable(text)}
        return viewer.send(page | {"occluded": occluded})

    each: dict[str, Any] = {"show_progress": "hidden", "trigger_mode": "multiple"} | MODEL_EVENT
    viewer.page.occlude(occlude_region, viewer.state, viewer.page, **each)
    viewer.page.score(score_own, viewer.state, [viewer.state, viewer.page], **each)


def handle_downloads(viewer: Viewer, views: Views, file: gr.Textbox, alert: gr.HTML) -> None:
    """Save the caption as a file, or show why it cannot be saved."""

    def write(captioned: Captioned | None, event: gr.EventData) -> tuple[str, str]:
        if captioned is None or not captioned.captions:
            return "", draw_alert("The caption has expired; caption the photo again.")
        try:
            asked = event_values(event, "kind", "display", "candidate")
            return _write_file(captioned, asked, views), ""
        except (CaptionerError, IndexError, KeyError, TypeError, ValueError) as error:
            return "", draw_alert(f"Cannot save: {error}")

    saved = viewer.page.save(write, viewer.state, [file, alert], **UNQUEUED)
    saved.then(None, file, js=SAVE_FILE)


def _write_file(captioned: Captioned, asked: Mapping[str, Any], views: Views) -> str:
    """Write the file that a page asks for.

    Raises:
        CaptionerError, IndexError, KeyError, TypeError, ValueError: there is no such kind of file,
            candidate or display setting; a program may send anything.
    """
    kind, display = asked["kind"], asked["display"]
    caption = captioned.captions[int(asked["candidate"])]
    caption = choose_view(caption, views[int(display["view"])][1])
    caption = replace(caption, image=captioned.path.name)
    if kind == "json":
        content = json.dumps(caption.to_dict(), indent=1).encode()
    else:
        style = Style(
            drawing=display["drawing"],
            scale="caption" if display["scale"] == "models" else display["scale"],
            colour_map=display["colours"],
            alpha=float(display["strength"]),
        )
        content = draw_file(open_selection(captioned).picture, caption, kind=kind, style=style)
    return pack_download(f"{captioned.path.stem}.{caption.checkpoint}.{kind}", content)


def list_views(captioners: Mapping[str, Captioner]) -> Views:
    """List the attention views of all models, the default first."""
    decoders = [captioner.header.model.decoder for captioner in captioners.values()]
    layers = max(decoder.layers for decoder in decoders)
    heads = max(decoder.heads for decoder in decoders)
    recommended = next(iter(captioners.values())).header.attention
    views = [("last layer", AttentionConfig())]
    if recommended != AttentionConfig():
        views.insert(0, ("recommended", recommended))
    views.append(("evidence", AttentionConfig(method="evidence")))
    if layers * heads > 1:
        views += [
            ("contrast", AttentionConfig(method="contrast")),
            ("mean of all layers", AttentionConfig(method="mean")),
            ("attention rollout", AttentionConfig(method="rollout")),
        ]
        for layer in range(1, layers + 1):
            views.append((f"layer {layer}", AttentionConfig(layer=layer)))
            views += [
                (f"layer {layer}, head {head}", AttentionConfig(layer=layer, head=head))
                for head in range(1, heads + 1)
            ]
    return views


def choose_view(caption: Caption, view: AttentionConfig) -> Caption:
    """Return the caption in another view, unchanged if the model has no such layer or head."""
    try:
        return caption.with_view(view)
    except CaptionerError:
        return caption
