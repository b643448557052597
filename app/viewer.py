"""One model's caption of one photo: what the page draws, and files of it to save."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import gradio as gr
from PIL import Image

from app.controls import DRAW_EVENT, FORGET_AFTER, SAVE_FILE, pack
from app.payload import Views, pack_captions, pack_photo, write_script
from captioner import AttentionConfig, Caption, Captioner, CaptionerError
from captioner.overlay import Style, render

_SCRIPTS = ("elements", "attention", "look", "sentence", "stage", "bar", "heads", "viewer")
_FILES = ("png", "gif", "html", "json")


@dataclass(frozen=True, kw_only=True, eq=False)
class Shown:
    """What a session has on one side of the page."""

    key: str
    """Of the photo."""
    name: str
    """The photo's file, as its user called it."""
    photo: Image.Image
    captions: tuple[Caption, ...] = ()
    """The caption, then the other candidates of the beam."""


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

    def open(self, shown: Shown, *, model: str) -> dict[Any, Any]:
        """Show a photo that waits for its caption."""
        return {
            self.column: gr.Column(visible=True),
            self.view: gr.HTML(
                value=json.dumps({"kind": "waiting", "key": shown.key}),
                photo=json.dumps(pack_photo(shown.photo, key=shown.key, model=model)),
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

    def refuse(self, key: str, message: str) -> dict[Any, Any]:
        """Say why there is no caption of a photo, and keep the photo."""
        return {self.view: _draw({"kind": "failed", "key": key, "message": message})}


def build_viewer(views: Views, demo: Shown | None = None, *, model: str) -> Viewer:
    """Lay out the photo with its overlay and its caption.

    Args:
        views: what attention can be taken from.
        demo: what to show and play on a fresh page.
        model: name of the model.
    """
    value = demo and json.dumps(pack_captions(demo.captions, key=demo.key))
    photo = demo and json.dumps(pack_photo(demo.photo, key=demo.key, model=model))
    with gr.Column(visible=demo is not None, min_width=320) as column:
        view = gr.HTML(
            value,
            html_template='<div class="here"></div>',
            apply_default_css=False,
            js_on_load=write_script(*_SCRIPTS, views=views),
            photo=photo,
        )
    return Viewer(column=column, view=view, shown=gr.State(demo, time_to_live=FORGET_AFTER))


def _draw(content: dict[str, Any]) -> gr.HTML:
    return gr.HTML(value=json.dumps(content))


def offer_files(viewer: Viewer, views: Views, file: gr.Textbox) -> None:
    """Let the page save what it shows."""

    def write(shown: Shown | None, asked: gr.EventData) -> str:
        if shown is None or not shown.captions:
            raise gr.Error(
                "This caption is no longer kept; caption the photo again.", print_exception=False
            )
        return _write_file(shown, asked._data or {}, views)

    viewer.view.save(write, viewer.shown, file, show_progress="hidden", **DRAW_EVENT).then(
        None, file, js=SAVE_FILE
    )


def _write_file(shown: Shown, asked: Mapping[str, Any], views: Views) -> str:
    """Draw the file that a page asks for; a program may ask for anything.

    Raises:
        gr.Error: there is no such file, candidate or look.
    """
    try:
        kind, look = asked["kind"], asked["look"]
        caption = choose_view(shown.captions[int(asked["candidate"])], views[int(look["view"])][1])
        caption = replace(caption, image=shown.name)
        style = Style(
            drawing=look["drawing"],
            scale=look["scale"],
            colour_map=look["colours"],
            alpha=float(look["strength"]),
        )
        if kind == "json":
            content = json.dumps(caption.to_dict(), indent=1).encode()
        else:
            content = render(shown.photo, caption, kind=kind, style=style)
    except (CaptionerError, IndexError, KeyError, TypeError, ValueError) as error:
        raise gr.Error(f"This cannot be saved: {error}", print_exception=False) from error
    return pack(f"{Path(shown.name).stem}.{caption.checkpoint}.{kind}", content)


def list_views(captioners: Mapping[str, Captioner]) -> Views:
    """List what attention can be taken from, the usual first."""
    decoders = [captioner.header.model.decoder for captioner in captioners.values()]
    layers = max(decoder.layers for decoder in decoders)
    heads = max(decoder.heads for decoder in decoders)
    views = [("last layer", AttentionConfig())]
    if layers * heads > 1:
        views += [
            ("mean over the layers", AttentionConfig(method="mean")),
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
