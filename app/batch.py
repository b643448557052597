"""Several photos: a caption or an error for each, as a table to save."""

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from io import StringIO
from pathlib import Path

import gradio as gr

from app.controls import (
    FORGET_AFTER,
    MODEL_EVENT,
    SAVE_FILE,
    fit,
    model_choice,
    pack,
    read_upload,
)
from app.html import BatchRow, data_uri, draw_batch
from captioner import Captioner, CaptionerError, load_reduced

_THUMBNAIL_PIXELS = (128, 128)


def build_batch(captioners: Mapping[str, Captioner], file: gr.Textbox) -> None:
    """Caption several photos, and save what came out as a table."""
    files = gr.File(label="Photos", file_count="multiple", file_types=["image"], height=160)
    model = model_choice(captioners, [])
    with gr.Row():
        start = gr.Button("Caption all", variant="primary")
        stop = gr.Button("Stop")
    table = gr.HTML(elem_id="batch")
    done = gr.State([], time_to_live=FORGET_AFTER)
    with gr.Row(elem_classes="downloads"):
        as_csv = gr.Button("Save CSV", size="sm")
        as_json = gr.Button("Save JSON", size="sm")

    def run(paths: list[str] | None, choice: str) -> Iterator[tuple[str, list[BatchRow]]]:
        if not paths:
            raise gr.Error("Choose some photos first.", print_exception=False)
        rows: list[BatchRow] = []
        yield draw_batch(rows, total=len(paths)), rows
        for path in paths:
            rows = [*rows, _caption_row(captioners[choice], Path(path))]
            yield draw_batch(rows, total=len(paths)), rows

    running = start.click(run, [files, model], [table, done], show_progress="hidden", **MODEL_EVENT)
    stop.click(None, cancels=[running], api_visibility="private")
    for button, write in ((as_csv, to_csv), (as_json, to_json)):
        button.click(write, done, file, show_progress="hidden", api_visibility="private").then(
            None, file, js=SAVE_FILE
        )


def _caption_row(captioner: Captioner, path: Path) -> BatchRow:
    """Caption one photo of a batch; what cannot be read becomes a row as well."""
    try:
        source, name = read_upload(path)
        picture, _ = load_reduced(source, at_least=_THUMBNAIL_PIXELS, name=name)
        caption = captioner.caption(captioner.prepare(source, name=name))
    except CaptionerError as error:
        return BatchRow(name=path.name, error=str(error))
    return BatchRow(
        name=path.name,
        caption=caption.text,
        log_probability=caption.log_probability,
        thumbnail=data_uri(fit(picture, _THUMBNAIL_PIXELS)),
    )


def to_csv(rows: Sequence[BatchRow]) -> str:
    """Pack a table for spreadsheets, which would run a text that begins like a formula."""
    text = StringIO()
    table = csv.writer(text)
    table.writerow(["file", "caption", "log_probability", "error"])
    for row in rows:
        name, caption, error = (
            f"'{cell}" if cell.startswith(("=", "+", "-", "@")) else cell
            for cell in (row.name, row.caption, row.error)
        )
        table.writerow([name, caption, row.log_probability, error])
    return pack("captions.csv", text.getvalue().encode())


def to_json(rows: Sequence[BatchRow]) -> str:
    """Pack a table for programs."""
    table = [
        {
            "file": r.name,
            "caption": r.caption,
            "log_probability": r.log_probability,
            "error": r.error,
        }
        for r in rows
    ]
    return pack("captions.json", json.dumps(table, indent=1).encode())
