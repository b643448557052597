"""The app: captions a photo and shows the attention map of every word; built on Gradio.

    payload        photos and captions as JSON for the page's scripts (*.js)
    html           the batch table as HTML, with every text escaped
    plain_text     captions and their attention as plain text
    controls       inputs, errors and downloads shared by the tabs
    search         inputs for the decoding settings
    ensemble       a lazily loaded ensemble
    occlusion      captions of a photo with a region painted out
    viewer         one model's caption of a photo
    single         the tab for one photo
    selection      the selected photo
    address        settings in the page's address
    samples        sample photos
    live           the webcam
    tray           recent photos of the session
    batch          the tab for several photos
    api            the HTTP API and the MCP tools
    mcp            MCP results as JSON
    validation     errors for invalid API requests
    guard          middleware: cross-site requests, logins

Every event that runs a model goes through one bounded queue, so captions are generated one at a
time. A photo is visible only to its own session and deleted with it.
"""

from collections.abc import Mapping
from pathlib import Path

import gradio as gr

from app.api import build_api
from app.batch import build_batch
from app.controls import SESSION_TIMEOUT
from app.guard import Guard
from app.mcp import answer_in_json
from app.single import build_single
from app.validation import explain_invalid_requests
from captioner import Captioner

__all__ = ["CSS", "Guard", "build"]

QUEUE = 64
"""Maximum number of queued requests; further ones are rejected."""
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
        queue: maximum number of queued requests.
    """
    app: gr.Blocks = gr.Blocks(
        title="captioner", analytics_enabled=False, delete_cache=(600, SESSION_TIMEOUT)
    )
    with app:
        gr.HTML(_HEADING)
        file = gr.Textbox(visible=False)  # carries downloads to the browser
        with gr.Tabs() as tabs:
            with gr.Tab("One photo", id="one"):
                selected, follow = build_single(captioners, file, app)
            with gr.Tab("Several photos", id="several"):
                opened = build_batch(captioners, file, selected=selected, tabs=tabs)
        follow(opened)
        build_api(captioners)
        app.load(None, js=_PAGE.read_text(encoding="utf-8"))
    explain_invalid_requests(app)
    answer_in_json()
    app.queue(max_size=queue, default_concurrency_limit=1)
    return app
