"""The app: captions a photo and shows the attention map of every word; built on Gradio.

    payload        photos and captions as the page reads them; its scripts and app.css beside it
    html           the table of a batch, as HTML with every text escaped
    wording        captions in words
    controls       inputs, errors and downloads that the parts share
    search         decoding settings, as inputs
    together       an ensemble as a model
    viewer         one model's caption of a photo
    single         one photo, word by word
    address        what a link to the page reproduces
    samples        photos to try
    live           the webcam
    tray           photos of the session
    batch          several photos, as a table
    api            what programs may call
    mcp            answers to language models
    requests       what is wrong with what they sent
    guard          who may call, and from where

Every event that uses the model goes through one bounded queue, so captions are generated one after
another. A photo is kept only for its own session and dropped with it.
"""

from collections.abc import Mapping
from pathlib import Path

import gradio as gr

from app.api import build_api
from app.batch import build_batch
from app.controls import FORGET_AFTER
from app.guard import Guard
from app.mcp import answer_in_json
from app.requests import explain_requests
from app.single import build_single
from captioner import Captioner

__all__ = ["CSS", "Guard", "build"]

QUEUE = 64
"""Requests that may wait; further ones are rejected."""
CSS = Path(__file__).with_name("app.css")
_PAGE = Path(__file__).with_name("page.js")

_HEADING = """
<header><h1>captioner</h1>
<p>Image captioning with an attention map for every word.</p></header>
"""


def build(captioners: Mapping[str, Captioner], *, queue: int = QUEUE) -> gr.Blocks:
    """Build the app.

    Args:
        captioners: models to choose from; the first is the default.
        queue: requests that may wait.
    """
    app: gr.Blocks = gr.Blocks(
        title="captioner", analytics_enabled=False, delete_cache=(600, FORGET_AFTER)
    )
    with app:
        gr.HTML(_HEADING)
        file = gr.Textbox(visible=False)  # a file to save, on its way to the browser
        with gr.Tabs() as tabs:
            with gr.Tab("One photo", id="one"):
                picked, follow = build_single(captioners, file, app)
            with gr.Tab("Several photos", id="several"):
                look = build_batch(captioners, file, picked=picked, tabs=tabs)
        follow(look)
        build_api(captioners)
        app.load(None, js=_PAGE.read_text(encoding="utf-8"))
    explain_requests(app)
    answer_in_json()
    app.queue(max_size=queue, default_concurrency_limit=1)
    return app
