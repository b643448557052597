"""The batch table as HTML, with every text escaped and every thumbnail a data URI."""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from app.payload import printable

EDIT = """element.addEventListener("change", (event) => {
  const { row } = event.target.dataset;
  if (row !== undefined) trigger("edit", { row: Number(row), text: event.target.value });
});
element.addEventListener("click", (event) => {
  const row = event.target.closest("button")?.dataset.row;
  if (row !== undefined) trigger("open_row", { row: Number(row) });
});"""
"""Script of the table."""


@dataclass(frozen=True, kw_only=True)
class BatchRow:
    """One photo of a batch, with a caption or an error."""

    name: str
    """Name of the user's file."""
    caption: str = ""
    log_probability: float | None = None
    """Log-probability of the caption."""
    doubts: Sequence[str] = ()
    """Warnings about the caption, e.g. low confidence."""
    error: str = ""
    thumbnail: str = ""
    """A data URI; empty if the photo cannot be read."""


def draw_alert(message: str) -> str:
    """Return an error as HTML; screen readers announce it."""
    return f'<p class="warning" role="alert">{_text(message)}</p>'


def draw_batch(rows: Sequence[BatchRow], *, total: int, stopped: bool = False) -> str:
    """Return the progress and the captions of a batch as HTML."""
    failed = sum(bool(row.error) for row in rows)
    status = f"{len(rows)} of {total} photo{'s' * (total != 1)} done" + (
        f", {failed} could not be read" * bool(failed)
    )
    if stopped:
        status = f"Stopped: {status}. “Caption all” continues."
    done = stopped or len(rows) == total  # until then, the next row would undo an edit
    body = "".join(
        f"<tr{' class=failed' * bool(row.error)}><td>{_thumbnail(row)}</td>"
        f'<th scope="row">{_text(row.name)}</th>'
        f"<td>{_caption(n, row, done=done)}</td>"
        f"<td>{'' if row.log_probability is None else f'{row.log_probability:.2f}'}</td></tr>"
        for n, row in enumerate(rows)
    )
    return (
        f'<div class="batch"><p role="status">{status}</p>'
        f'<progress max="{total}" value="{len(rows)}" aria-label="Photos done"></progress>'
        "<table><thead><tr><td></td><th>Photo</th><th>Caption</th><th>Log-probability</th></tr>"
        f"</thead><tbody>{body}</tbody></table></div>"
    )


def _caption(number: int, row: BatchRow, *, done: bool) -> str:
    """Return an error, or an editable caption with a button that opens its photo."""
    if row.error:
        return _text(row.error.removeprefix(f"{row.name}: "))
    name = _text(row.name)
    return (
        f'<div class="edit"><div><textarea rows="1" data-row="{number}" '
        f'aria-label="Caption of {name}"{" readonly" * (not done)}>{_text(row.caption)}</textarea>'
        + (f'<small class="doubt">{_text(", ".join(row.doubts))}</small>' if row.doubts else "")
        + f'</div><button type="button" class="small" data-row="{number}" '
        f'aria-label="View {name}">View</button></div>'
    )


def _thumbnail(row: BatchRow) -> str:
    return f'<img src="{row.thumbnail}" alt="">' if row.thumbnail else ""


def _text(text: str) -> str:
    """Escape a text for HTML elements and attributes."""
    return escape(printable(text))
