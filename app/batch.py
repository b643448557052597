"""The tab for several photos: captions them into a table to edit and save."""

import csv
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from io import StringIO
from pathlib import Path
from typing import Any

import gradio as gr

from app.controls import (
    MODEL_EVENT,
    SAVE_FILE,
    SESSION_TIMEOUT,
    UNQUEUED,
    event_values,
    model_choice,
    open_upload,
    pack_download,
    page_error,
)
from app.html import EDIT, BatchRow, draw_alert, draw_batch
from app.payload import data_uri
from app.selection import Selection
from captioner import Captioner, CaptionerError
from captioner.interchange import guard, readable

MOST_PHOTOS = 200
"""Photos per batch; they stay on the server until the page is closed."""
_THUMBNAIL_PIXELS = (128, 128)
_LONGEST_CAPTION = 1000
"""Maximum length of an edited caption, in characters."""


@dataclass(frozen=True, kw_only=True)
class BatchWork:
    """A session's batch and its results so far."""

    paths: tuple[str, ...] = ()
    """The photos."""
    model: str = ""
    """Name of the model."""
    rows: tuple[BatchRow, ...] = ()
    """Rows of the finished photos, in order."""

    @property
    def unfinished(self) -> bool:
        """Whether any photo has no row yet."""
        return len(self.rows) < len(self.paths)


def build_batch(
    captioners: Mapping[str, Captioner], file: gr.Textbox, *, selected: gr.State, tabs: gr.Tabs
) -> Any:
    """Caption several photos, edit the captions, and save them as a table.

    Each photo is a separate event, triggered by the end of the previous one, so that other users
    are served between photos.

    Args:
        captioners: models to choose from.
        file: hidden text box that carries a download to the browser.
        selected: photo selected in the other tab.
        tabs: both tabs.

    Returns:
        `success` of the event that opens a row's photo in the other tab.
    """
    files = gr.File(
        label=f"Photos (up to {MOST_PHOTOS})",
        file_count="multiple",
        file_types=["image"],
        height=180,
        elem_id="files",
    )
    model = model_choice(captioners, [])
    with gr.Row():
        start = gr.Button("Caption all", variant="primary")
        stop = gr.Button("Stop", visible=False)
    table = gr.HTML(elem_id="batch", apply_default_css=False, js_on_load=EDIT)
    with gr.Row(elem_classes="downloads", visible=False) as downloads:
        as_csv = gr.Button("Save CSV", size="sm")
        as_json = gr.Button("Save JSON", size="sm")
    work = gr.State(BatchWork(), time_to_live=SESSION_TIMEOUT)
    turns = gr.State(0)  # its change triggers the next photo
    halted = gr.State(False)

    def buttons(*, running: bool) -> dict[Any, Any]:
        return {start: gr.Button(interactive=not running), stop: gr.Button(visible=running)}

    def begin(paths: list[str] | None, choice: str, batch: BatchWork) -> dict[Any, Any]:
        if not paths or len(paths) > MOST_PHOTOS:
            alert = draw_alert(explain_count(len(paths or ())))
            kept = draw_batch(batch.rows, total=len(batch.paths)) if batch.rows else ""
            return {table: alert + kept, halted: True}
        same = batch.unfinished and (batch.paths, batch.model) == (tuple(paths), choice)
        batch = batch if same else BatchWork(paths=tuple(paths), model=choice)
        return {
            work: batch,
            table: draw_batch(batch.rows, total=len(paths)),
            halted: False,
            downloads: gr.Row(visible=True),
            **buttons(running=True),
        }

    def step(batch: BatchWork, turn: int, stopped: bool) -> dict[Any, Any]:
        if stopped or not batch.unfinished:
            return buttons(running=False)
        row = _caption_row(captioners[batch.model], Path(batch.paths[len(batch.rows)]))
        batch = replace(batch, rows=(*batch.rows, row))
        return {
            work: batch,
            table: draw_batch(batch.rows, total=len(batch.paths)),
            turns: turn + batch.unfinished,
            **buttons(running=batch.unfinished),
        }

    def halt(batch: BatchWork) -> dict[Any, Any]:
        shown = draw_batch(batch.rows, total=len(batch.paths), stopped=batch.unfinished)
        return {table: shown, halted: True, **buttons(running=False)}

    begun = start.click(
        begin, [files, model, work], [work, table, halted, downloads, start, stop], **UNQUEUED
    )
    outcome = [table, halted, start, stop]
    steps = [
        when(
            step,
            [work, turns, halted],
            [work, table, turns, start, stop],
            show_progress="hidden",
            **MODEL_EVENT,
        )
        for when in (begun.success, turns.change)
    ]
    for running in steps:
        running.failure(halt, work, outcome, **UNQUEUED)  # a full queue, or a cancelled event
    stop.click(halt, work, outcome, cancels=steps, **UNQUEUED)

    def edit(batch: BatchWork, event: gr.EventData) -> BatchWork:
        number, text = _row_of(batch, event), str(event_values(event, "text").get("text"))
        rows = list(batch.rows)
        rows[number] = replace(rows[number], caption=text[:_LONGEST_CAPTION])
        return replace(batch, rows=tuple(rows))

    def open_row(batch: BatchWork, event: gr.EventData) -> tuple[Selection, gr.Tabs]:
        return Selection.of(Path(batch.paths[_row_of(batch, event)])), gr.Tabs(selected="one")

    table.edit(edit, work, work, **UNQUEUED)
    opened = table.open_row(open_row, work, [selected, tabs], **UNQUEUED)
    for button, write in ((as_csv, to_csv), (as_json, to_json)):
        button.click(write, work, file, **UNQUEUED).then(None, file, js=SAVE_FILE)
    return opened.success


def _row_of(batch: BatchWork, event: gr.EventData) -> int:
    number: Any = event_values(event, "row").get("row")
    if number not in range(len(batch.rows)):
        raise page_error(f"row is {number!r}; it must be the index of a finished row.")
    return int(number)


def explain_count(count: int) -> str:
    """Return the error for no photos or too many."""
    if not count:
        return "No photos chosen; choose some first."
    return (
        f"{count} photos are more than the limit of {MOST_PHOTOS}; choose fewer, or run "
        "`captioner folder` on their folder."
    )


def _caption_row(captioner: Captioner, path: Path) -> BatchRow:
    """Caption one photo; an unreadable photo gets a row with its error."""
    try:
        upload = open_upload(path, size=_THUMBNAIL_PIXELS)
        caption = captioner.caption(captioner.prepare(upload.content, name=upload.name))
    except CaptionerError as error:
        return BatchRow(name=path.name, error=str(error))
    return BatchRow(
        name=path.name,
        caption=caption.text,
        log_probability=caption.log_probability,
        doubts=caption.judgement.doubts,
        thumbnail=data_uri(upload.picture),
    )


def to_csv(batch: BatchWork) -> str:
    """Pack the table as CSV."""
    text = StringIO()
    table = csv.writer(text)
    table.writerow(["file", "caption", "log_probability", "error"])
    for row in batch.rows:
        name, caption, error = (
            guard(readable(cell)) for cell in (row.name, row.caption, row.error)
        )
        table.writerow([name, caption, row.log_probability, error])
    return pack_download("captions.csv", text.getvalue().encode("utf-8-sig"))


def to_json(batch: BatchWork) -> str:
    """Pack the table as JSON."""
    table = [
        {
            "file": r.name,
            "caption": r.caption,
            "log_probability": r.log_probability,
            "error": r.error,
        }
        for r in batch.rows
    ]
    return pack_download("captions.json", json.dumps(table, indent=1).encode())
