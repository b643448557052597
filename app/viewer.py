"""One model's caption of one photo: what the page draws, and files of it to save."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import gradio as gr
from PIL import Image

from app.controls import AT_ONCE, FORGET_AFTER, MODEL_EVENT, SAVE_FILE, draw_file, pack, values_of
from app.html import draw_alert
from app.payload import Views, pack_captions, pack_photo, printable, write_script
from app.picking import Picked, open_picked
from app.samples import name_sample, read_people
from app.whatif import change
from captioner import AttentionConfig, Caption, Captioner, CaptionerError
from captioner.overlay import Style

_SCRIPTS = (
    *("elements", "address", "attention", "look", "sentence", "stage", "bar"),
    *("heads", "timeline", "candidates", "own", "people", "whatif", "viewer"),
)
_LONGEST_SENTENCE = 300
"""Characters."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Shown(Picked):
    """What a session has on one side of the page; the photo itself stays in its file."""

    captions: tuple[Caption, ...] = ()
    """The caption, then the other candidates of the beam, then sentences of the user's own."""


@dataclass(frozen=True, kw_only=True)
class Viewer:
    """The components that show one model's caption."""

    column: gr.Column
    view: gr.HTML
    shown: gr.State

    def hide(self) -> dict[Any, Any]:
        """Show nothing."""
        return {
            self.column: gr.Column(visible=False),
            self.view: gr.HTML(value=None, photo=None),
            self.shown: None,
        }

    def open(self, shown: Shown, photo: Image.Image, *, model: str) -> dict[Any, Any]:
        """Show a photo, small enough to be looked at, that waits for its caption."""
        return {
            self.column: gr.Column(visible=True),
            self.view: gr.HTML(
                value=json.dumps({"kind": "waiting", "key": shown.key}),
                photo=_pack(shown, photo, model),
            ),
            self.shown: shown,
        }

    def grow(self, shown: Shown, caption: Caption) -> dict[Any, Any]:
        """Show a caption that is being written."""
        return {self.view: _draw(pack_captions([caption], key=shown.key, kind="growing"))}

    def fill(self, shown: Shown) -> dict[Any, Any]:
        """Show the finished captions."""
        return {
            self.shown: shown,
            self.view: _draw(pack_captions(shown.captions, key=shown.key)),
        }

    def refuse(self, key: str, message: str, *, kind: str = "failed") -> dict[Any, Any]:
        """Say why a photo has no caption, or why a sentence is `unread`; keep all else."""
        return {self.view: _draw({"kind": kind, "key": key, "message": message})}


def build_viewer(views: Views, demo: Shown | None = None, *, model: str) -> Viewer:
    """Lay out the photo with its overlay and its caption.

    Args:
        views: what attention can be taken from.
        demo: what to show and play on a fresh page.
        model: name of the model.
    """
    value = demo and json.dumps(pack_captions(demo.captions, key=demo.key))
    photo = demo and _pack(demo, open_picked(demo).picture, model)
    with gr.Column(visible=demo is not None, min_width=320) as column:
        view = gr.HTML(
            value,
            html_template='<div class="here"></div>',
            apply_default_css=False,
            js_on_load=write_script(*_SCRIPTS, views=views),
            photo=photo,
        )
    return Viewer(column=column, view=view, shown=gr.State(demo, time_to_live=FORGET_AFTER))


def _pack(shown: Shown, photo: Image.Image, model: str) -> str:
    sample = name_sample(shown.path)
    people = read_people(sample)
    packed = pack_photo(photo, key=shown.key, model=model, sample=sample, people=people)
    return json.dumps(packed)


def _draw(content: dict[str, Any]) -> gr.HTML:
    return gr.HTML(value=json.dumps(content))


def answer_questions(viewer: Viewer, captioner: Captioner) -> None:
    """Let the page have sentences of its own read, and parts of the photo painted out."""

    # Not `read`: Gradio would give the API that name, though the page alone asks.
    def read_own(shown: Shown | None, asked: gr.EventData) -> dict[Any, Any]:
        if shown is None or not shown.path.is_file():
            raise gr.Error("The photo is no longer here; choose it again.", print_exception=False)
        given = values_of(asked, "complete", "rivals", "text")
        ask = captioner.complete if given.get("complete") else captioner.read_sentence
        try:
            prepared = captioner.prepare(shown.path.read_bytes(), name=shown.path.name)
            own = ask(prepared, str(given.get("text") or "")[:_LONGEST_SENTENCE])
        except CaptionerError as error:
            return viewer.refuse(shown.key, str(error), kind="unread")
        if own.text not in [caption.text for caption in shown.captions]:
            shown = replace(shown, captions=(*shown.captions, own))
        kind = "rivals" if given.get("rivals") else "read"  # they alone were asked for
        page = pack_captions([own], key=shown.key, kind=kind)
        return {viewer.shown: shown, viewer.view: _draw(page)}

    def hide(shown: Shown | None, asked: gr.EventData) -> dict[Any, Any]:
        if shown is None:
            raise gr.Error("The photo is no longer here; choose it again.", print_exception=False)
        given = values_of(asked, "box", "candidate")
        try:
            top, left, bottom, right = map(float, given["box"])
            text = shown.captions[int(given["candidate"])].text
            photo = open_picked(shown).picture
            changed = change(captioner, photo, text, (top, left, bottom, right))
        except (CaptionerError, IndexError, KeyError, TypeError, ValueError) as error:
            raise gr.Error(f"Cannot paint out: {error}", print_exception=False) from error
        page = {"kind": "changed", "key": shown.key, "text": printable(text), "changed": changed}
        return {viewer.view: _draw(page)}

    each: dict[str, Any] = {"show_progress": "hidden", "trigger_mode": "multiple"} | MODEL_EVENT
    viewer.view.hide(hide, viewer.shown, viewer.view, **each)
    viewer.view.read(read_own, viewer.shown, [viewer.shown, viewer.view], **each)


def offer_files(viewer: Viewer, views: Views, file: gr.Textbox, alert: gr.HTML) -> None:
    """Let the page save what it shows, or say why it cannot."""

    def write(shown: Shown | None, asked: gr.EventData) -> tuple[str, str]:
        if shown is None or not shown.captions:
            return "", draw_alert("This caption is no longer kept; caption the photo again.")
        try:
            given = values_of(asked, "kind", "look", "candidate")
            return _write_file(shown, given, views), ""
        except (CaptionerError, IndexError, KeyError, TypeError, ValueError) as error:
            return "", draw_alert(f"This cannot be saved: {error}")

    viewer.view.save(write, viewer.shown, [file, alert], **AT_ONCE).then(None, file, js=SAVE_FILE)


def _write_file(shown: Shown, asked: Mapping[str, Any], views: Views) -> str:
    """Draw the file that a page asks for.

    Raises:
        CaptionerError, IndexError, KeyError, TypeError, ValueError: there is no such file,
            candidate or look; a program may ask for anything.
    """
    kind, look = asked["kind"], asked["look"]
    caption = choose_view(shown.captions[int(asked["candidate"])], views[int(look["view"])][1])
    caption = replace(caption, image=shown.path.name)
    style = Style(
        drawing=look["drawing"],
        scale="caption" if look["scale"] == "models" else look["scale"],
        colour_map=look["colours"],
        alpha=float(look["strength"]),
    )
    if kind == "json":
        content = json.dumps(caption.to_dict(), indent=1).encode()
    else:
        content = draw_file(open_picked(shown).picture, caption, kind=kind, style=style)
    return pack(f"{shown.path.stem}.{caption.checkpoint}.{kind}", content)


def list_views(captioners: Mapping[str, Captioner]) -> Views:
    """List what attention can be taken from, the usual first."""
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
    """Show other attention; the usual where the model has no such layer or head."""
    try:
        return caption.with_view(view)
    except CaptionerError:
        return caption
